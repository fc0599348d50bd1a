"""The Procfile as it stands, under a runner that others wrote: every line comes up, and together they work."""

from __future__ import annotations

import base64
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from occo_celery import settings, wiring
from occo_celery.api.manager import InfrastructureManager
from tests.acceptance.installation import EXAMPLES, OCCO
from tests.contract.cases import wait_until

ROOT = EXAMPLES.parent
DEFINITION = "'node_def:sleeper':\n  - resource: {type: process, command: [sleep, infinity]}\n"
ONE = {"infra_name": "one", "nodes": [{"name": "sleeper", "type": "sleeper"}]}


@pytest.fixture
def environment(short_path: pathlib.Path) -> dict[str, str]:
    """A home of its own, with its database; nothing else is told to the programs but what Flower needs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {name: value for name, value in os.environ.items() if not name.startswith(("OCCO", "FLOWER"))}
    told |= {
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(short_path),  # whoever runs this may have a configuration of their own
        "OCCO_HOME": str(short_path),
        "FLOWER_PORT": str(port),
        "FLOWER_PASSWORD": "secret",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }
    subprocess.run([*OCCO, "db", "upgrade"], env=told, check=True, capture_output=True, timeout=60)
    return told


@pytest.fixture
def runner(environment: dict[str, str], short_path: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    with (short_path / "honcho.log").open("wb") as log:
        honcho = subprocess.Popen(
            [sys.executable, "-m", "honcho", "--no-colour", "-f", str(ROOT / "Procfile"), "-d", str(ROOT), "start"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield honcho
    finally:
        honcho.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            honcho.wait(timeout=30)
        left = _of(str(short_path))
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=10)


def test_the_procfile(runner: subprocess.Popen[bytes], environment: dict[str, str], short_path: pathlib.Path) -> None:
    def log() -> str:
        return (short_path / "honcho.log").read_text(errors="replace")

    def together(condition: bool) -> bool:
        """What is waited for; one line that ends takes all others along, and waiting would be in vain."""
        assert runner.poll() is None, log()
        assert " stopped (rc=" not in log(), log()
        return condition

    config = settings.load(environ=environment)
    system = wiring.System(config)
    try:
        signs = ("passes@", "instructions@", "beat: Starting...", "Ready to accept connections")
        wait_until(lambda: together(all(sign in log() for sign in signs)), 60, f"the signs of life {signs}")
        wait_until(lambda: together(_flower(environment, "occo:secret") == 200), 60, "Flower's answer")
        assert _flower(environment, "occo:guessed") == 401
        definitions = short_path / "definitions.yaml"
        definitions.write_text(DEFINITION)
        manager = InfrastructureManager("parallel", system=system)
        manager.import_definitions(definitions)
        infra_id = manager.add(ONE)
        wait_until(lambda: together(manager.get(infra_id)._is_ready()), 60, "one ready instance")
        (node,) = _of(str(short_path / "processes"), "OCCO_ROOT")
        assert node.environ()["OCCO_INFRA_ID"] == infra_id
        manager.detach(infra_id)
        torn = manager.tear_down(infra_id)
        wait_until(lambda: together(torn.state == "torn_down"), 60, "its end")
        assert not node.is_running() or node.status() == psutil.STATUS_ZOMBIE
    finally:
        system.store.close()
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=60) == 128 + signal.SIGTERM
    assert log().count(" stopped (rc=") == 5, log()


def _flower(environment: dict[str, str], who: str) -> int | None:
    """The status that Flower answers with; None while it does not answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{environment['FLOWER_PORT']}/")
    request.add_header("Authorization", "Basic " + base64.b64encode(who.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except OSError:
        return None


def _of(value: str, name: str = "OCCO_HOME") -> list[psutil.Process]:
    """What runs with this in its environment."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.environ().get(name) == value and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found
