"""A whole life of the example `shop` on this machine, in about a minute; run by `make demo`.

Everything is done as a person would: with the command `occo`, on a system that `occo up` runs in a folder of its own,
which is removed at the end. Exit code 0, or it says what failed.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable

import psutil

SHOP = pathlib.Path(__file__).parent / "shop"
OCCO = [sys.executable, "-m", "occo_celery.cli.main"]


class Failed(Exception):
    """What went wrong, for the person who runs the demo."""


def say(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def occo(*arguments: str, quiet: bool = False) -> str:
    """Run a command of occo, shown as a person would type it; its standard output."""
    if not quiet:
        print("$ occo " + " ".join(arguments), flush=True)
    done = subprocess.run([*OCCO, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"`occo {' '.join(arguments)}` ended with exit code {done.returncode}")
    if not quiet:
        print(done.stdout, end="", flush=True)
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> float:
    """Seconds that it took for the condition to come about."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout:
            raise Failed(f"{what} did not come about within {timeout:g} s")
        time.sleep(0.1)
    return time.monotonic() - began


def nodes(home: pathlib.Path) -> list[psutil.Process]:
    """The processes of instances that run under this home, by their environment."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("OCCO_ROOT", "").startswith(str(home)) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


def instances(infra_id: str) -> dict[str, list[dict[str, str]]]:
    report = json.loads(occo("--json", "report", infra_id, quiet=True))
    return {name: list(node["instances"].values()) for name, node in report.items()}


def all_ready(infra_id: str, count: int) -> bool:
    states = [one["state"] for some in instances(infra_id).values() for one in some]
    return states == ["ready"] * count


def visit(infra_id: str) -> str:
    """What the shop's gateway says to a visitor."""
    (gateway,) = instances(infra_id)["gateway"]
    with urllib.request.urlopen(f"http://{gateway['resource_address']}:8000/visit", timeout=10) as answer:
        return str(answer.read().decode().strip())


def kill_an_application(home: pathlib.Path) -> int:
    victim = next(one for one in nodes(home) if one.environ()["OCCO_NODE_NAME"] == "app")
    print(f"$ kill -9 {victim.pid}   # an instance of app", flush=True)
    victim.kill()
    wait_until(lambda: victim.pid not in [one.pid for one in nodes(home)], "the end of the killed process")
    return victim.pid


def life(home: pathlib.Path) -> None:
    say("Node definitions and the infrastructure")
    occo("import", str(SHOP / "node_definitions.yaml"))
    infra_id = occo("build", str(SHOP / "shop.yaml"), "--parallel", "--interval", "2", "--timeout", "120").split()[-1]
    occo("report", infra_id)
    say("The instances use each other: gateway, application, store")
    for _ in range(2):
        print(visit(infra_id))

    say("An instance dies and is replaced")
    kill_an_application(home)
    took = wait_until(lambda: len(nodes(home)) == 4 and all_ready(infra_id, 4), "healing")
    print(f"healed after {took:.1f} s")
    occo("report", infra_id)
    print(visit(infra_id))

    say("Detached: nothing is maintained any more")
    occo("detach", infra_id)
    kill_an_application(home)
    time.sleep(6)  # three intervals, in which nothing must happen
    if len(nodes(home)) != 3:
        raise Failed(f"{len(nodes(home))} processes run, 3 were left when nothing was maintained any more")
    print("after three intervals the killed instance has not been replaced")

    say("Torn down: nothing is left")
    occo("destroy", infra_id, "--timeout", "120")
    if nodes(home):
        raise Failed(f"{len(nodes(home))} processes are left after the teardown")
    print("no process is left")


def main() -> int:
    home = pathlib.Path(tempfile.mkdtemp(prefix="occo-demo-", dir="/tmp"))
    os.environ["OCCO_HOME"] = str(home)
    os.environ.pop("OCCOPUS_CONFIG_PATH", None)
    say(f"The system: broker, workers and beat, in {home}")
    print("$ occo up", flush=True)
    log = home / "up.log"
    with log.open("wb") as output:
        system = subprocess.Popen([*OCCO, "up"], stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: system.poll() is not None or answers(), "the start of the system")
        if system.poll() is not None:
            raise Failed(f"`occo up` ended:\n{log.read_text()}")
        life(home)
    except Failed as problem:
        print(f"\nThe demo failed: {problem}\nThe logs are in {home / 'log'}", file=sys.stderr)
        return 1
    finally:
        system.send_signal(signal.SIGTERM)
        system.wait()
        for one in nodes(home):
            one.kill()
    shutil.rmtree(home, ignore_errors=True)
    say("All of it worked")
    return 0


def answers() -> bool:
    """Database and broker can be used."""
    done = subprocess.run([*OCCO, "config", "check"], capture_output=True, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
