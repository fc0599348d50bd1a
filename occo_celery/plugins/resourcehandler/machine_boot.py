"""What the process of a machine does first; a script of its own, with the standard library alone. Used by machine.py.

Outside it takes a network of its own, gets it connected to the bridge, and becomes `unshare`, which starts the
inside: PID 1 of the machine, with a root of its own over the host's, where it runs cloud-init and then waits.
Whatever ends any of them ends the machine, and the kernel takes network, mounts and processes away.

Sources: unshare(1), network_namespaces(7), overlayfs in the kernel's documentation, cloud-init's "NoCloud".
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import Any

CLONE_NEWNET = 0x40000000
CLOUD_CONFIG = """\
datasource_list: [NoCloud]
disable_root: false
network: {config: disabled}
users: []
cloud_init_modules:
  [bootcmd, write-files, growpart, set_hostname, update_etc_hosts, ca-certs, users-groups]
cloud_config_modules: [set-passwords, timezone, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-user, final-message]
system_info:
  distro: debian
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
log_cfgs:
  - |
    [loggers]
    keys = root
    [handlers]
    keys = console, file
    [formatters]
    keys = line
    [logger_root]
    level = DEBUG
    handlers = console, file
    [handler_console]
    class = StreamHandler
    level = WARNING
    formatter = line
    args = (sys.stderr,)
    [handler_file]
    class = FileHandler
    level = DEBUG
    formatter = line
    args = ("/var/log/cloud-init.log",)
    [formatter_line]
    format = %(asctime)s %(levelname)s %(name)s: %(message)s
"""
STAGES = (["init", "--local"], ["init"], ["modules", "--mode=config"], ["modules", "--mode=final"])
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def run(*command: str) -> None:
    """A command that must succeed. What it says is the machine's output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}")


# --- outside -----------------------------------------------------------------------------------------------------


def outside(told: dict[str, Any]) -> None:
    """Returns never."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        sys.exit(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    connect(told, f"/proc/{os.getpid()}/fd/{here}")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{told['address']}/{told['prefix']}", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", told["gateway"])
    os.close(here)
    inner = [sys.executable, "-I", "-S", __file__, json.dumps({**told, "inside": True})]
    options = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL"]
    os.execvp("unshare", ["unshare", *options, "--", *inner])  # noqa: S606  # PATH is the handler's


def connect(told: dict[str, Any], worker: str) -> None:
    """Connect this network to the bridge, which is in the worker's, or in one that is named."""
    network = f"/run/netns/{told['namespace']}" if told["namespace"] else worker
    there = ("nsenter", f"--net={network}", "ip")
    bridge, cable = told["bridge"], "occo" + hashlib.sha256(told["node_id"].encode()).hexdigest()[:11]
    # others may be making it at the same moment
    subprocess.run([*there, "link", "add", bridge, "type", "bridge"], stderr=subprocess.DEVNULL, check=False)
    run(*there, "address", "replace", f"{told['gateway']}/{told['prefix']}", "dev", bridge)
    run(*there, "link", "set", bridge, "up")
    run(*there, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(os.getpid()))
    run(*there, "link", "set", cable, "master", bridge, "up")


# --- inside ------------------------------------------------------------------------------------------------------


def inside(told: dict[str, Any]) -> None:
    """PID 1. Returns never."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with open(told["context"], encoding="utf-8") as file:
        context = file.read()
    root = new_root(told)
    seed(root, told, context)
    os.chroot(root)
    os.chdir("/")
    run("hostname", told["hostname"])
    for stage in STAGES:
        # a config that is partly wrong is applied as far as it goes, as on any cloud; the output says what failed
        subprocess.run(["cloud-init", *stage], stdin=subprocess.DEVNULL, check=False)
    print("cloud-init has run; the machine is up", flush=True)
    while True:
        try:
            os.wait()  # what has lost its parent is ours to reap
        except ChildProcessError:
            signal.pause()


def new_root(told: dict[str, Any]) -> str:
    """The host's files, of which changes are kept in memory; not the folders of the machines on this host."""
    work = os.getcwd()
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "machine", work)
    for name in ("upper", "work", "root"):
        os.mkdir(os.path.join(work, name))
    root = os.path.join(work, "root")
    options = f"lowerdir=/,upperdir={work}/upper,workdir={work}/work"
    run("mount", "-t", "overlay", "-o", options, "machine", root)
    run("mount", "-t", "proc", "proc", f"{root}/proc")
    run("mount", "-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    for name, mode in (("run", "0755"), ("tmp", "1777"), ("dev", "0755"), (told["root"].lstrip("/"), "0700")):
        os.makedirs(f"{root}/{name}", exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"mode={mode}", "machine", f"{root}/{name}")
    for device in DEVICES:
        open(f"{root}/dev/{device}", "w").close()
        run("mount", "--bind", f"/dev/{device}", f"{root}/dev/{device}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    os.makedirs(f"{root}/run/lock")
    return root


def seed(root: str, told: dict[str, Any], context: str) -> None:
    """What cloud-init reads, in place of what it knows of the host."""
    shutil.rmtree(f"{root}/var/lib/cloud", ignore_errors=True)
    shutil.rmtree(f"{root}/etc/cloud/cloud.cfg.d", ignore_errors=True)
    place = f"{root}/var/lib/cloud/seed/nocloud"
    os.makedirs(place)
    os.makedirs(f"{root}/etc/cloud/cloud.cfg.d")
    write(f"{root}/etc/cloud/cloud.cfg", CLOUD_CONFIG)
    write(f"{place}/user-data", context or "#cloud-config\n{}\n")
    write(f"{place}/meta-data", json.dumps({"instance-id": told["node_id"], "local-hostname": told["hostname"]}))
    write(f"{root}/etc/hostname", told["hostname"] + "\n")
    write(f"{root}/etc/hosts", f"127.0.0.1 localhost\n{told['address']} {told['hostname']}\n")


def write(path: str, text: str) -> None:
    """A new file, readable by root only where it may hold secrets."""
    secret = path.endswith("user-data")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    told = json.loads(sys.argv[1])
    inside(told) if told.get("inside") else outside(told)


if __name__ == "__main__":
    main()
