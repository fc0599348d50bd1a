"""What the documents say is true: the README's example, Flower, `occo logs`, `occo up`."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import psutil
import pytest

from tests.acceptance import flower
from tests.acceptance.installation import EXAMPLES, NETWORK, OCCO, Installation
from tests.contract.cases import wait_until

ROOT = EXAMPLES.parent


@pytest.fixture(params=["sqlite"])
def database_url(sqlite_url: str) -> str:
    """One engine is enough for what is told here."""
    return sqlite_url


def test_the_example_of_the_readme(installation: Installation) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=installation.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["store", "app", "gateway"]
    assert done.stdout.count(f"{NETWORK[:6]}.") == 4
    assert installation.nodes() == []


def test_occo_logs_shows_what_an_instance_puts_out(installation: Installation) -> None:
    installation.occo("import", str(EXAMPLES / "shop" / "node_definitions.yaml"))
    infra_id = installation.manager.add(EXAMPLES / "shop" / "shop.yaml")
    installation.manager.get(infra_id).wait_ready(60)
    (node_id,) = installation.manager.report(infra_id)["gateway"]["instances"]
    assert "GET / HTTP/1.1" in installation.occo("logs", node_id), "the health check's own visits"


def test_flower_shows_passes_and_instructions_by_name(installation: Installation) -> None:
    with flower.running(installation) as shown_by:
        installation.occo("import", str(EXAMPLES / "shop" / "node_definitions.yaml"))
        infra_id = installation.manager.add(EXAMPLES / "shop" / "shop.yaml")
        installation.manager.get(infra_id).wait_ready(60)

        def shown() -> set[str]:
            tasks = json.loads(shown_by.get("/api/tasks") or "{}")
            return {f"{one['name']} {one['args']}" for one in tasks.values()}

        wait_until(lambda: f"enactor-pass (infra_id={infra_id}, name=shop)" in shown(), 30, "a pass by name")
        wait_until(
            lambda: any(one.startswith(f"create-node (node=gateway, infra_id={infra_id}, ") for one in shown()),
            30,
            "an instruction by name",
        )


def test_occo_up_goes_up_heals_itself_and_ends_in_order(short_path: pathlib.Path) -> None:
    environment = {**os.environ, "OCCO_HOME": str(short_path), "PYTHONWARNINGS": "ignore"}
    environment.pop("OCCOPUS_CONFIG_PATH", None)
    up = subprocess.Popen(
        [*OCCO, "up"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def programs() -> dict[str, psutil.Process]:
        """The programs of this installation by what they are."""
        found = {}
        for supervisor in psutil.Process(up.pid).children():
            for one in supervisor.children():
                with contextlib.suppress(psutil.Error):
                    line = " ".join(one.cmdline())
                    for name in ("worker passes", "worker instructions", "main beat", "valkey-server"):
                        if name in line:
                            found[name] = one
        return found

    try:
        wait_until(lambda: len(programs()) == 4, 60, "four programs")
        check = [*OCCO, "config", "check"]
        wait_until(
            lambda: subprocess.run(check, env=environment, capture_output=True).returncode == 0, 60, "an answer"
        )
        victim = wait_until(lambda: programs().get("main beat"), 30, "beat")
        victim.kill()

        def others() -> list[psutil.Process]:
            """All four, with another beat."""
            found = list(programs().values())
            return found if len(found) == 4 and victim.pid not in [one.pid for one in found] else []

        everything = wait_until(others, 60, "another beat")
        up.send_signal(signal.SIGINT)
        output, _ = up.communicate(timeout=90)
    finally:
        if up.poll() is None:
            up.terminate()
            up.communicate(timeout=90)
    told = output.decode()
    order = [told.index(f"stopped: {name}") for name in ("beat", "passes", "broker")]
    assert order == sorted(order), told
    assert not any(one.is_running() for one in everything)
