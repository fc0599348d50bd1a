"""A real dockerd of this test process's own, in a network namespace without a way out.

Needs root, and Debian's docker.io, iptables, busybox-static and iproute2 (.ci/install-for-system-tests). The image
BUSYBOX is there from the start. nsenter, not `ip netns exec`: that would hide the cgroups.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import docker
import psutil
from docker import errors as sdk_errors
from requests import exceptions

from tests import freezing
from tests.contract.cases import wait_until

BUSYBOX = "occo-busybox:1"
PROGRAMS = ("dockerd", "containerd", "iptables", "ip", "nsenter", "busybox")
#: Runs until it is told to end, and ends at once then.
SLEEPER = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo up; sleep 600 & wait"]


class Daemon:
    """A daemon, its folder and its network namespace."""

    def __init__(self) -> None:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing or os.geteuid() != 0:
            raise RuntimeError(
                f"dockerd cannot be tested: missing are {', '.join(missing) or 'none'}, uid {os.geteuid()}; "
                "run .ci/install-for-system-tests as root"
            )
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="occo-docker-", dir="/tmp"))
        self.namespace = self.folder.name
        self.socket = self.folder / "docker.sock"
        self.endpoint = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        _run("ip", "netns", "add", self.namespace)
        _run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        self.start_again()
        with self.client() as client:
            client.import_image_from_data(layer(), repository="occo-busybox", tag="1")

    def start_again(self) -> None:
        if self._process is not None:  # it was killed, and its containerd with it: their pids may be zombies' now
            self._process.wait(30)
            for pid in ("pid", "exec/containerd/containerd.pid"):
                (self.folder / pid).unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
            options = [f"--{name}={self.folder / place}" for name, place in places.items()]
            self._process = subprocess.Popen(
                [*self.inside(), "dockerd", *options, f"--host={self.endpoint}", "--storage-driver=overlay2"],
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, 30.0, f"dockerd's first answer, see {self.folder / 'log'}")

    def inside(self) -> Sequence[str]:
        """What a command begins with that is to run in the daemon's network."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        client = docker.APIClient(base_url=self.endpoint, timeout=60)
        try:
            yield client
        finally:
            client.close()

    def answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with self.client() as client:
                return bool(client.ping())
        except (sdk_errors.DockerException, exceptions.RequestException):
            return False

    def containers(self, **filters: str) -> list[dict[str, Any]]:
        with self.client() as client:
            found: list[dict[str, Any]] = client.containers(all=True, filters=filters)
            return found

    def remove_all(self) -> None:
        """Containers and marks of tests."""
        with self.client() as client:
            for container in client.containers(all=True):
                with contextlib.suppress(sdk_errors.APIError):  # others may be removing it
                    client.remove_container(container["Id"], v=True, force=True)
            for volume in client.volumes()["Volumes"] or ():
                with contextlib.suppress(sdk_errors.APIError):
                    client.remove_volume(volume["Name"], force=True)

    def freeze(self) -> None:
        assert self._process is not None
        freezing.freeze(self._process.pid)  # the daemon's: nsenter has become it

    def thaw(self) -> None:
        assert self._process is not None
        freezing.thaw(self._process.pid)

    def kill(self) -> None:
        """kill -9, waited for by start_again."""
        assert self._process is not None
        self._process.kill()

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(Exception):
                self.remove_all()
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        for process in psutil.process_iter(["cmdline"]):  # shims of containers that outlived a daemon
            if any(str(self.folder) in word for word in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)
        mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([one for one in mounts if one.startswith(f"{self.folder}/")]):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def daemon() -> Daemon:
    """The daemon of this process, started when first asked for."""
    made = Daemon()
    owner = os.getpid()
    atexit.register(lambda: made.remove() if os.getpid() == owner else None)  # not by forked children
    made.start()
    return made


def layer(mark: bytes = b"") -> bytes:
    """A file system with busybox in it, as a tar. mark: makes it another one, which no daemon has yet."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if name == "busybox":
                continue
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(link)
        entry = tarfile.TarInfo("mark")
        entry.size = len(mark)
        tar.addfile(entry, io.BytesIO(mark))
    return archive.getvalue()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
