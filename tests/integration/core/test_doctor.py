"""What doctor says of an installation in trouble, and that it stops saying so when the trouble is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery import errors
from occo_celery.api import doctor
from occo_celery.api.examination import Finding, Severity
from occo_celery.model import instance, status
from occo_celery.plugins.resourcehandler import base
from occo_celery.tasks import scheduler
from occo_celery.uds import accounts, nodes, operations, programs, tables
from tests.world import World

ONE: dict[str, Any] = {"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world in which doctor finds nothing."""
    world = make_world()
    with world.system.store.write() as connection:
        for kind in doctor.PROGRAMS:
            programs.alive(connection, program(world, kind))
    assert [one for one in findings(world) if one.severity is not Severity.OK] == []
    return world


def program(world: World, kind: str, **changed: Any) -> programs.Program:
    life = {"started_at": world.now(), "seen_at": world.now() + 3600.0, "clock_offset": 0.0}
    return programs.Program(**{"program_id": f"{kind}@host:1", "kind": kind, "host": "host", **life, **changed})


def findings(world: World, *, sweep: bool = True) -> tuple[Finding, ...]:
    return doctor.examine(world.system, sweep=sweep).findings


def only(world: World, severity: Severity = Severity.PROBLEM) -> Finding:
    """The one finding that is not well."""
    (found,) = [one for one in findings(world) if one.severity not in (Severity.OK, Severity.SKIPPED)]
    assert found.severity is severity
    return found


def well(world: World) -> None:
    assert {one.severity for one in findings(world)} == {Severity.OK}


def write(world: World, statement: sa.Executable) -> None:
    with world.system.store.write() as connection:
        connection.execute(statement)


def ready(world: World) -> tuple[str, instance.Instance]:
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: world.states(infra_id) == ["ready"])
    with world.system.store.read() as connection:
        (node,) = nodes.of(connection, infra_id)
    return infra_id, node


# --- database, broker, programs -------------------------------------------------------------------------------


def test_a_database_of_another_version(world: World) -> None:
    write(world, sa.text("UPDATE alembic_version SET version_num = '9999'"))
    found = doctor.examine(world.system)
    assert not found.ok
    assert found.findings[0].severity is Severity.PROBLEM
    assert "9999" in found.findings[0].sentence
    rest = [one for one in found.findings if one.check not in ("schema", "broker")]
    assert {one.severity for one in rest} == {Severity.SKIPPED}
    assert found.orphans.count is None


def test_a_broker_that_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise errors.BrokerUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(world, "check", refuse)
        assert only(world) == Finding(check="broker", severity=Severity.PROBLEM, sentence="it is away")
    well(world)


@pytest.mark.parametrize("kind", list(doctor.PROGRAMS))
def test_a_program_that_is_not_alive(world: World, kind: str) -> None:
    with world.system.store.write() as connection:
        programs.alive(connection, program(world, kind, seen_at=world.now() - 31.0))
    found = only(world)
    assert (found.check, found.remedy) == ("programs", doctor.PROGRAMS[kind])
    assert f"{kind}@host:1, was seen 31 s ago" in found.sentence
    with world.system.store.write() as connection:
        programs.ended(connection, f"{kind}@host:1")
    assert "the last one" not in only(world).sentence
    with world.system.store.write() as connection:
        programs.alive(connection, program(world, kind, program_id=f"{kind}@other:2", seen_at=world.now() - 29.0))
    well(world)


def test_programs_long_gone_are_forgotten_by_whoever_writes(world: World) -> None:
    with world.system.store.write() as connection:
        programs.alive(connection, program(world, "beat", program_id="beat@old:1", seen_at=world.now()))
        later = world.now() + programs.FORGOTTEN + 1
        programs.alive(connection, program(world, "beat", program_id="beat@new:2", seen_at=later))
        assert "beat@old:1" not in [one.program_id for one in programs.known(connection)]


def test_clocks_that_differ(world: World) -> None:
    with world.system.store.write() as connection:
        programs.alive(connection, program(world, "beat", clock_offset=-1.5))
    found = only(world, Severity.WARNING)
    assert (found.check, found.details) == ("clocks", ("beat@host:1: +1.5 s",))
    assert doctor.examine(world.system).ok, "a warning is no problem"
    with world.system.store.write() as connection:
        programs.alive(connection, program(world, "beat", clock_offset=-0.5))
    well(world)


# --- rows -----------------------------------------------------------------------------------------------------


def test_passes_that_nobody_sends_or_makes(world: World) -> None:
    infra_id, _ = ready(world)
    well(world)
    world.time += 45.0  # no beat
    found = only(world)
    assert found.check == "overdue"
    assert found.details[0].startswith(f"one of {infra_id}: for ")
    world.manager.suspend(infra_id)
    well(world)
    world.manager.resume(infra_id)
    world.run(2.0)
    well(world)
    for _ in range(50):  # beat without workers
        world.time += 1.0
        beat_only(world)
    assert only(world).check == "overdue"
    world.run(12.0)  # an interval
    well(world)


def beat_only(world: World) -> None:
    scheduler.Due(world.system).publish()
    world.messages.clear()


def test_an_operation_that_nobody_sends(world: World) -> None:
    infra_id, node = ready(world)
    world.manager.suspend(infra_id)
    intend(world, node, due=world.now() - 31.0, retry_at=world.now())
    assert only(world).check == "overdue"
    write(world, tables.operations.update().values(due=world.now() - 29.0))
    well(world)


def intend(world: World, node: instance.Instance, **values: Any) -> None:
    with world.system.store.write() as connection:
        intent = operations.intent(
            target=node.node_id,
            infra_id=node.infra_id,
            kind=instance.OperationKind.CREATE,
            node_name=node.node_name,
            epoch=1,
            now=world.now(),
            resend=1e6,
        )
        operations.insert(connection, [intent])
        reason = values.pop("reason", None)
        if reason is not None:
            values["reason_code"], values["reason_arguments"] = reason, {"detail": "no such image"}
        connection.execute(tables.operations.update().values(**values))


def test_leases_that_nobody_took_over(world: World) -> None:
    infra_id, node = ready(world)
    infra = tables.infrastructures
    write(world, infra.update().values(pass_token="gone", lease_until=world.now() - 61.0))
    assert only(world).check == "leases"
    write(world, infra.update().values(lease_until=world.now() - 59.0))
    well(world)
    write(world, infra.update().values(pass_token=None, lease_until=None))
    intend(world, node, token="gone", lease_until=world.now() - 61.0)
    found = only(world)
    assert found.check == "leases"
    assert f"create a ({node.node_id}) of {infra_id}: for 61 s" in found.details
    write(world, tables.operations.update().values(lease_until=world.now() - 59.0))
    well(world)


def test_an_instruction_that_fails_again_and_again(world: World) -> None:
    infra_id, node = ready(world)
    intend(world, node, attempts=5, reason="refused_for_now")
    found = only(world)
    assert found.check == "operations"
    assert "5 attempts" in found.details[0]
    assert "no such image" in found.details[0]
    assert f"occo retry {infra_id}" in found.remedy
    write(world, tables.operations.update().values(attempts=4))
    well(world)
    write(world, tables.operations.update().values(retry_at=None, due=None))
    assert "waits for a change" in only(world).details[0]
    write(world, tables.operations.delete())
    well(world)


@pytest.mark.parametrize("reason", ["ending", "seen_gone", "settling"])
def test_an_instruction_that_waits_for_its_cloud_does_not_fail(world: World, reason: str) -> None:
    _, node = ready(world)
    intend(world, node, attempts=50, reason=reason)
    well(world)


def test_a_pass_that_ends_in_an_error(world: World) -> None:
    infra_id, _ = ready(world)
    write(world, tables.schedule.update().values(last_error="KeyError: 'x'"))
    found = only(world)
    assert (found.check, found.details) == ("passes", (f"one ({infra_id}): KeyError: 'x'",))
    world.run(15.0)
    well(world)


# --- accounts -------------------------------------------------------------------------------------------------


def test_an_account_that_does_not_answer(world: World) -> None:
    ready(world)
    world.cloud.set(silent=True)
    world.run(40.0)
    found = {one.check: one for one in findings(world) if one.severity is Severity.PROBLEM}
    assert found.keys() == {"accounts", "orphans"}
    assert "does not answer" in found["accounts"].details[0]
    told = doctor.examine(world.system).orphans
    assert told.count is None, "not known is not 0"
    assert "does not answer" in str(told.unanswered)
    assert [one.check for one in findings(world, sweep=False) if one.severity is Severity.PROBLEM] == ["accounts"]
    world.cloud.set(silent=False)
    world.run(60.0)
    well(world)


def test_healing_that_waited(world: World) -> None:
    with world.system.store.write() as connection:
        accounts.open_breaker(connection, "cloud", now=world.now() - 599.0)
    found = only(world, Severity.WARNING)
    assert (found.check, found.details) == ("accounts", ("cloud: 10 min ago",))
    world.time += 2.0
    well(world)


# --- orphans --------------------------------------------------------------------------------------------------


def make(world: World, node_id: str, infra_id: str) -> base.Seen:
    """An instance behind our back."""
    section = {"type": "simulated"}
    handler = world.system.clouds.handler(world.system.clouds.account(section), section)
    return handler.create(base.Creation(node_id=node_id, infra_id=infra_id, node_name="a", section=section))


def orphans(world: World) -> list[str]:
    found = doctor.examine(world.system).orphans
    assert found.count == len(found.found)
    return [one.instance_id for one in found.found]


def test_an_instance_that_nobody_knows_is_an_orphan(world: World) -> None:
    infra_id, _ = ready(world)
    made = make(world, "behind-our-back", infra_id)
    found = only(world)
    assert found.check == "orphans"
    assert made.instance_id in found.details[0]
    assert orphans(world) == [made.instance_id]
    world.cloud.end(made.instance_id, dropped_at=world.now(), gone_at=world.now())
    well(world)


def test_an_orphan_of_what_is_torn_down(world: World) -> None:
    infra_id, _ = ready(world)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down")
    well(world)
    made = make(world, "late", infra_id)
    assert orphans(world) == [made.instance_id]


def test_what_is_somebody_elses_is_none(world: World) -> None:
    ready(world)
    made = make(world, "theirs", "an-infrastructure-of-another-installation")
    well(world)
    assert doctor.examine(world.system).orphans.foreign == 1
    assert made.instance_id in [one.instance_id for one in world.living()], "it is not touched"


@pytest.mark.parametrize("lifecycle", [one for one in instance.Lifecycle if one is not instance.Lifecycle.RUNNING])
def test_what_somebody_is_at_is_none(world: World, lifecycle: instance.Lifecycle) -> None:
    infra_id, _ = ready(world)
    made = make(world, "being-made", infra_id)
    assert orphans(world) == [made.instance_id]
    with world.system.store.write() as connection:
        nodes.insert(connection, infra_id, {"being-made": "a"}, now=world.now())
        connection.execute(
            tables.nodes.update().where(tables.nodes.c.node_id == "being-made").values(lifecycle=lifecycle.value)
        )
    assert orphans(world) == []


def test_a_second_instance_of_a_running_node_is_a_stray(world: World) -> None:
    _, node = ready(world)
    assert orphans(world) == []
    write(world, tables.nodes.update().values(instance_id="another"))
    assert orphans(world) == [node.instance_id]
    write(world, tables.nodes.update().values(instance_id=node.instance_id))
    assert orphans(world) == []


def test_what_is_on_its_way_out_is_none(world: World) -> None:
    infra_id, _ = ready(world)
    made = make(world, "leaving", infra_id)
    world.cloud.end(made.instance_id, dropped_at=world.now(), gone_at=world.now() + 60.0)
    assert orphans(world) == []


def test_a_list_that_lags_makes_no_orphan_of_what_was_just_archived(world: World) -> None:
    _, node = ready(world)
    write(world, tables.schedule.delete())
    with world.system.store.write() as connection:
        nodes.archive(connection, dataclasses.replace(node, reason=status.Reason(code="x")), why="x", now=world.now())
    assert orphans(world) == []
    world.time += 4.5  # settle and grace of this cloud
    assert orphans(world) == [node.instance_id]


def test_an_account_that_a_node_has_left_is_still_looked_through(world: World) -> None:
    """What was tried there and given up leaves no trace in the node's row; the account is remembered all the same."""
    infra_id, _ = ready(world)
    made = make(world, "late", infra_id)
    write(world, tables.operations.delete())
    write(world, tables.nodes.delete())
    assert made.instance_id in orphans(world)
