"""What goes away comes back, and nothing is lost or doubled meanwhile: broker, database, beats."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from occo_celery import errors
from occo_celery.plugins.resourcehandler.simulated_cloud import SimulatedCloud
from occo_celery.uds import definitions
from tests import databases
from tests.acceptance.installation import Installation
from tests.contract.cases import wait_until

PAIR = {
    "infra_name": "pair",
    "nodes": [{"name": "a", "type": "t"}, {"name": "b", "type": "t"}],
    "dependencies": [["b", "a"]],
}


def cloud(installation: Installation) -> SimulatedCloud:
    return SimulatedCloud(pathlib.Path(installation.settings.resourcehandler["simulated"]["database"]))


def define(installation: Installation) -> None:
    implementation = {"resource": {"type": "simulated"}, "health_check": {"ping": False}}
    with installation.system.store.write() as connection:
        definitions.replace(connection, {"t": [implementation]}, now=installation.system.now())


def passes(installation: Installation, infra_ids: list[str]) -> list[int]:
    return [installation.manager.get(infra_id).passes for infra_id in infra_ids]


def go_on(installation: Installation, infra_ids: list[str], count: int = 3) -> None:
    """Every infrastructure gets so many more passes."""
    before = passes(installation, infra_ids)
    wait_until(
        lambda: all(new >= old + count for old, new in zip(before, passes(installation, infra_ids), strict=True)),
        90,
        f"{count} more passes of each",
    )


def exactly(installation: Installation, infra_ids: list[str]) -> None:
    """Ready, and one instance for each node: none lost, none doubled, not even one that was dropped again."""
    for infra_id in infra_ids:
        wait_until(lambda: installation.states(infra_id) == ["ready", "ready"], 60, f"{infra_id} ready")  # noqa: B023
    assert len(list(cloud(installation).instances(alive=False))) == 2 * len(infra_ids)


@pytest.mark.parametrize(
    ("database_url", "how"), [("sqlite", "frozen"), ("postgresql", "killed")], indirect=["database_url"]
)
def test_the_broker_goes_away_for_two_seconds(installation: Installation, how: str) -> None:
    """With tasks in flight and others prefetched, on both workers. This test pins celery and kombu."""
    define(installation)
    cloud(installation).set(latency=1.0)
    infra_ids = [installation.manager.add(PAIR) for _ in range(6)]
    calls = cloud(installation).calls
    wait_until(lambda: calls().get("create", 0) >= 3 and calls().get("observe", 0) >= 2, 60, "tasks in flight")
    if how == "killed":
        installation.broker.kill()
    else:
        installation.broker.freeze()
    time.sleep(2.0)  # the time that the broker is away is what is tested
    if how == "killed":
        installation.broker.start()
    else:
        installation.broker.thaw()
    go_on(installation, infra_ids)
    exactly(installation, infra_ids)
    for name in ("passes", "instructions", "beat"):
        assert installation.alive(name), installation.log(name)


@databases.on("postgresql")
def test_the_broker_comes_back_empty(installation: Installation) -> None:
    define(installation)
    infra_ids = [installation.manager.add(PAIR) for _ in range(3)]
    installation.broker.kill()
    for kept in installation.home.glob("appendonlydir/*"):
        kept.unlink()
    installation.broker.start()
    go_on(installation, infra_ids)
    exactly(installation, infra_ids)


@databases.on("postgresql")
def test_the_database_goes_away_and_comes_back(installation: Installation, postgresql_server: Any) -> None:
    """PostgreSQL is ended at once, as by a crash; everybody waits for it and goes on."""
    define(installation)
    infra_ids = [installation.manager.add(PAIR) for _ in range(3)]
    exactly(installation, infra_ids)
    server = psutil.Process(postgresql_server.get_pid())
    server.send_signal(signal.SIGQUIT)
    server.wait(30)
    with pytest.raises(errors.StoreUnavailable):
        installation.manager.list()
    time.sleep(2.0)  # the time that the database is away is what is tested
    for name in ("passes", "instructions", "beat"):
        assert installation.alive(name), installation.log(name)
    postgresql_server.ensure_postgres_running()
    go_on(installation, infra_ids)
    exactly(installation, infra_ids)


def test_three_beats_make_no_pass_twice(make_installation: Callable[..., Installation]) -> None:
    """Counted by leases taken, not by messages."""
    installation = make_installation(interval=1.0)
    installation.start_all()
    installation.start("beat:2", "beat:3")
    define(installation)
    infra_ids = [installation.manager.add(PAIR) for _ in range(10)]
    exactly(installation, infra_ids)
    before, since = passes(installation, infra_ids), time.monotonic()
    go_on(installation, infra_ids, 6)
    made = [new - old for old, new in zip(before, passes(installation, infra_ids), strict=True)]
    elapsed = time.monotonic() - since
    assert max(made) <= elapsed + 2, f"{made} passes in {elapsed:.1f} s, one a second is asked for"
    installation.kill("beat", "beat:2")
    go_on(installation, infra_ids)


@databases.on("postgresql")
@pytest.mark.parametrize("name", ["beat", "passes", "instructions"])
def test_a_program_ends_in_order_when_asked_to(installation: Installation, name: str) -> None:
    define(installation)
    infra_ids = [installation.manager.add(PAIR) for _ in range(3)]
    exactly(installation, infra_ids)
    assert installation.stop(name, signal.SIGTERM) == 0
    assert "Traceback" not in installation.log(name)
    installation.start(name)
    go_on(installation, infra_ids)
    exactly(installation, infra_ids)


#: Ends as by trouble of Celery's own, once it is at work.
ENDS = """
import sys
from celery import signals
from occo_celery.cli import main

@signals.worker_ready.connect
def end(**_):
    raise SystemExit(3)

sys.exit(main.main(["worker", "instructions"]))
"""


@databases.on("sqlite")
def test_a_worker_says_with_its_exit_code_that_trouble_ended_it(
    make_installation: Callable[..., Installation],
) -> None:
    installation = make_installation()
    installation.broker.start()
    done = subprocess.run(
        [sys.executable, "-c", ENDS], env=installation.environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr


@databases.on("sqlite")
def test_no_broker_is_one_clear_error_and_changes_nothing(make_installation: Callable[..., Installation]) -> None:
    installation = make_installation()
    define(installation)
    infra_id = installation.manager.submit_infrastructure(PAIR)
    for act in (installation.manager.attach, installation.manager.tear_down):
        with pytest.raises(errors.BrokerUnavailable, match="does not answer"):
            act(infra_id)
    assert not installation.manager.list()[0].managed
    assert installation.manager.list()[0].phase == "submitted"
    assert "does not answer" in installation.occo("attach", infra_id, code=1)


@databases.on("postgresql")
def test_no_tables_is_one_clear_error(make_installation: Callable[..., Installation]) -> None:
    installation = make_installation()
    with installation.system.store.write() as connection:
        connection.execute(sa.text("DROP TABLE alembic_version"))
    for arguments in (("list",), ("worker", "passes"), ("beat",)):
        said = installation.occo(*arguments, code=1)
        assert "occo db upgrade" in said
        assert "Traceback" not in said
