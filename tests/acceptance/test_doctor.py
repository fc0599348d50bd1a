"""`occo doctor` on real processes: all is well, and what it says when something is not."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from occo_celery.api import doctor
from occo_celery.api.examination import Examination, Severity
from occo_celery.plugins.resourcehandler import base
from occo_celery.uds import programs, tables
from tests import databases
from tests.acceptance.installation import EXAMPLES, OCCO, Installation
from tests.contract.cases import wait_until


def kinds(installation: Installation) -> list[str]:
    with installation.system.store.read() as connection:
        return sorted(one.kind for one in programs.known(connection))


def problems(found: Examination) -> dict[str, str]:
    return {one.check: one.sentence for one in found.findings if one.severity is Severity.PROBLEM}


@databases.on("postgresql")
def test_all_is_well_until_beat_is_killed(installation: Installation) -> None:
    wait_until(lambda: kinds(installation) == ["beat", "instructions", "passes"], 60, "signs of life")
    installation.manager.import_definitions(EXAMPLES / "shop" / "node_definitions.yaml")
    infra_id = installation.manager.add((EXAMPLES / "shop" / "shop.yaml").read_text())
    installation.wait_ready(infra_id, 4)
    told = installation.occo("doctor").splitlines()
    assert told[-2:] == ["orphans: 0", "all is well"]
    told = json.loads(installation.occo("doctor", "--json"))
    assert (told["ok"], told["orphans"]["count"], told["orphans"]["foreign"]) == (True, 0, 0)

    # One that ends in order says goodbye; one that is killed is missed after a while, which need not be waited for.
    installation.kill("beat")
    later(installation, "beat", 31.0)
    found = doctor.examine(installation.system)
    assert problems(found)["programs"].startswith("no live beat; the last one, beat@")
    assert "no live beat" in failing(installation, "doctor", "--no-sweep")
    installation.start("beat")
    wait_until(lambda: "programs" not in problems(doctor.examine(installation.system)), 60, "beat seen again")


@databases.on("sqlite")
def test_an_orphan_is_told_of_then_swept(installation: Installation) -> None:
    """An instance made behind our back; the sweep, brought forward, finds it by itself and ends it."""
    installation.manager.import_definitions(EXAMPLES / "shop" / "node_definitions.yaml")
    infra_id = installation.manager.add((EXAMPLES / "shop" / "shop.yaml").read_text())
    installation.wait_ready(infra_id, 4)
    section = {"type": "process", "command": ["sleep", "600"]}
    handler = installation.system.clouds.handler(installation.system.clouds.account(section), section)
    creation = base.Creation(node_id="orphan", infra_id=infra_id, node_name="app", section=section)
    made = handler.create(creation)
    told = json.loads(failing(installation, "doctor", "--json"))
    assert [one["instance_id"] for one in told["orphans"]["found"]] == [made.instance_id]
    with installation.system.store.write() as connection:
        connection.execute(tables.accounts.update().values(sweep_due=0.0))
    wait_until(lambda: doctor.examine(installation.system).orphans.count == 0, 60, "no orphans")
    wait_until(lambda: len(installation.nodes()) == 4, 60, "the orphan ended, and no other")
    installation.wait_ready(infra_id, 4)


def failing(installation: Installation, *arguments: str) -> str:
    """Standard output of a command that ends with exit code 1."""
    command = [*OCCO, *arguments]
    done = subprocess.run(command, env=installation.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout


def later(installation: Installation, kind: str, seconds: float) -> None:
    """The signs of programs of a kind as they will look in so many seconds."""
    with installation.system.store.write() as connection:
        table = tables.programs
        connection.execute(
            table.update().where(table.c.kind == kind).values(seen_at=table.c.seen_at - sa.literal(seconds))
        )


@databases.on("postgresql")
def test_programs_that_end_in_order_say_goodbye(make_installation: Callable[..., Any]) -> None:
    installation = make_installation()
    installation.start_all()
    wait_until(lambda: kinds(installation) == ["beat", "instructions", "passes"], 60, "signs of life")
    for name in ("beat", "passes", "instructions"):
        assert installation.stop(name, signal.SIGTERM) == 0
        assert name not in kinds(installation), installation.log(name)
