"""What the scripts in this folder share: a whole system of its own (`occo up`), and `occo` as a person types it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import psutil

OCCO = [sys.executable, "-m", "occo_celery.cli.main"]


class Failed(Exception):
    """What went wrong, for the person who runs the script."""


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
    """By node name, as `occo report` has them."""
    report = json.loads(occo("--json", "report", infra_id, quiet=True))
    return {name: list(node["instances"].values()) for name, node in report.items()}


def all_ready(infra_id: str, count: int) -> bool:
    states = [one["state"] for some in instances(infra_id).values() for one in some]
    return states == ["ready"] * count


@contextlib.contextmanager
def running() -> Iterator[pathlib.Path]:
    """A system in a folder of its own, which is removed when all went well. Raises Failed."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="occo-demo-", dir="/tmp"))
    os.environ["OCCO_HOME"] = str(home)
    os.environ.pop("OCCOPUS_CONFIG_PATH", None)
    say(f"The system: broker, workers and beat, in {home}")
    print("$ occo up", flush=True)
    log = home / "up.log"
    with log.open("wb") as output:
        system = subprocess.Popen([*OCCO, "up"], stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: system.poll() is not None or _answers(), "the start of the system")
        if system.poll() is not None:
            raise Failed(f"`occo up` ended:\n{log.read_text()}")
        yield home
    except Failed as problem:
        raise Failed(f"{problem}\nThe logs are in {home / 'log'}") from problem
    finally:
        system.send_signal(signal.SIGTERM)
        system.wait()
        for one in nodes(home):
            one.kill()
    shutil.rmtree(home, ignore_errors=True)


def _answers() -> bool:
    """Database and broker can be used."""
    done = subprocess.run([*OCCO, "config", "check"], capture_output=True, check=False)
    return done.returncode == 0
