"""Instructions travel in sets: their transactions are shared, their fates are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from occo_celery.model import instance
from occo_celery.plugins.configmanager.dummy import DummyConfigManager
from occo_celery.plugins.resourcehandler.simulated import SimulatedHandler
from occo_celery.uds import nodes, operations, tables
from tests.world import World

NAMES = ("a", "b", "c")
FLAT: dict[str, Any] = {
    "infra_name": "flat",
    "nodes": [
        {"name": name, "type": "t", "variables": {"image": "missing" if name == "b" else "i"}} for name in NAMES
    ],
}


class AtOnce:
    """Together, where all answers come at the same time."""

    def run(self, calls: Sequence[Callable[[], Any]]) -> Iterator[Sequence[Any]]:
        yield [call() for call in calls]


class OneByOne:
    """Together, in the order of the calls; ``between`` happens after each."""

    def __init__(self, between: Callable[[], None]) -> None:
        self._between = between

    def run(self, calls: Sequence[Callable[[], Any]]) -> Iterator[Sequence[Any]]:
        for call in calls:
            yield [call()]
            self._between()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


def planned(world: World, description: dict[str, Any] = FLAT) -> tuple[str, list[str]]:
    """An infrastructure whose instances are intended, and their node_ids; nothing has begun."""
    infra_id = world.manager.add(description)
    world.deliver(1)
    world.messages.clear()
    with world.system.store.read() as connection:
        return infra_id, [one.node_id for one in nodes.of(connection, infra_id)]


def instances(world: World, infra_id: str) -> dict[str, instance.Instance]:
    with world.system.store.read() as connection:
        return {one.node_name: one for one in nodes.of(connection, infra_id)}


def test_one_that_is_refused_holds_up_no_other(world: World) -> None:
    world.define(resource={"type": "simulated", "image": "{{ variables.image }}"})
    infra_id, node_ids = planned(world)
    world.system.infraprocessor.perform(node_ids)
    found = instances(world, infra_id)
    assert {name: one.lifecycle.value for name, one in found.items()} == {
        "a": "running",
        "b": "planned",
        "c": "running",
    }
    assert found["b"].reason.code == "refused"
    assert len(world.living(infra_id)) == 2


def test_all_of_a_set_are_made_once_though_it_comes_twice(world: World) -> None:
    world.define(resource={"type": "simulated"})
    infra_id, node_ids = planned(world)
    for _ in range(2):
        world.system.infraprocessor.perform(node_ids)
    assert {one.lifecycle.value for one in instances(world, infra_id).values()} == {"running"}
    assert len(list(world.cloud.instances(alive=False))) == 3
    # One pass for answers that came together; on a machine without time they come apart.
    assert 1 <= len(world.messages) <= len(node_ids)


def test_passes_that_are_asked_for_together_travel_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = world.system.infraprocessor
    monkeypatch.setattr(processor, "_together", AtOnce())
    monkeypatch.setattr(processor._creator, "_together", AtOnce())
    some = [planned(world, {"infra_name": name, "nodes": [{"name": "a", "type": "t"}]}) for name in NAMES]
    node_ids = [node_id for _, (node_id,) in some]
    processor.perform(node_ids)
    assert len(world.messages) == 1
    world.deliver()
    assert [world.states(infra_id) for infra_id, _ in some] == [["ready"]] * 3
    for node_id in node_ids:
        world.manager.replace(node_id)
    world.run(1)  # they are old by now, others are made
    world.deliver()
    world.messages.clear()
    with world.system.store.read() as connection:
        dropping = [one for node_id in node_ids if (one := operations.get(connection, node_id)) is not None]
    assert len(dropping) == 3
    world.time += 60
    processor.perform(node_ids)
    assert len(world.messages) == 1


def test_what_nobody_expected_of_one_is_its_own_and_its_words_are_kept_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.define(resource={"type": "simulated"})
    infra_id, node_ids = planned(world)
    rendered = "s3cret"

    def register(_: Any, __: str, node_id: str, timeout: float) -> None:
        if node_id == node_ids[0]:
            raise RuntimeError(rendered)

    monkeypatch.setattr(DummyConfigManager, "register", register)
    world.system.infraprocessor.perform(node_ids)
    found = {one.node_id: one for one in instances(world, infra_id).values()}
    assert [found[one].lifecycle.value for one in node_ids] == ["planned", "running", "running"]
    assert "RuntimeError" in found[node_ids[0]].reason.text()
    assert "s3cret" not in found[node_ids[0]].reason.text()
    assert "in register" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_words_of_what_nobody_expected_of_a_list_are_kept_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.define(resource={"type": "simulated"})
    infra_id, _ = planned(world)
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3)
    secret = "s3cret"

    def quoting(*_: Any) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(SimulatedHandler, "observe", quoting)
    world.run(30.0)
    with world.system.store.read() as connection:
        told = connection.execute(tables.accounts.select()).fetchall()
    assert "RuntimeError" in str(told)
    assert "s3cret" not in f"{told} {caplog.text}"
    assert "in quoting" in caplog.text, "where it happened is told"


def test_the_words_of_what_nobody_expected_of_a_cloud_are_kept_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An SDK may quote what it was told, and that was rendered."""
    world.define(resource={"type": "simulated"})
    infra_id, node_ids = planned(world)
    rendered = "s3cret"

    def quoting(*_: Any) -> None:
        raise RuntimeError(rendered)

    monkeypatch.setattr(SimulatedHandler, "create", quoting)
    world.system.infraprocessor.perform(node_ids[:1])
    assert instances(world, infra_id)["a"].reason.code == "in_doubt"
    monkeypatch.undo()
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3)
    monkeypatch.setattr(SimulatedHandler, "drop", quoting)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run(2.0)
    (problem, *_) = handle.progress.trouble
    with world.system.store.read() as connection:
        told = connection.execute(tables.events.select()).fetchall()
    assert "RuntimeError" in problem
    assert "s3cret" not in f"{handle.progress} {told} {caplog.text}"
    assert caplog.text.count("in quoting") >= 2, "where it happened is told"


def test_what_cannot_be_recorded_together_is_recorded_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.define(resource={"type": "simulated"})
    infra_id, node_ids = planned(world)
    end = operations.end

    def refuse(connection: Any, targets: Any, token: str) -> Any:
        if len(targets) > 1 or node_ids[1] in targets:
            raise RuntimeError("not this one")
        return end(connection, targets, token)

    monkeypatch.setattr(operations, "end", refuse)
    world.system.infraprocessor.perform(node_ids)
    found = {one.node_id: one for one in instances(world, infra_id).values()}
    assert [found[one].lifecycle.value for one in node_ids] == ["running", "creating", "running"]
    monkeypatch.undo()
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3)
    assert len(list(world.cloud.instances(alive=False))) == 3, "what was not recorded is found again"


def test_what_cannot_be_taken_together_is_taken_one_by_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.define(resource={"type": "simulated"})
    infra_id, node_ids = planned(world)
    taker = world.system.infraprocessor._taker
    take = taker.take

    def refuse(connection: Any, targets: Any, now: float) -> Any:
        if node_ids[1] in targets:
            raise RuntimeError("not this one")
        return take(connection, targets, now)

    monkeypatch.setattr(taker, "take", refuse)
    world.system.infraprocessor.perform(node_ids)
    found = {one.node_id: one for one in instances(world, infra_id).values()}
    assert [found[one].lifecycle.value for one in node_ids] == ["running", "planned", "running"]


def test_each_call_looks_at_the_clock_before_it_is_made(world: World) -> None:
    """Guard 4: the first took so long that the answers to the others could come after the lease."""
    world.define(resource={"type": "simulated"})
    infra_id, node_ids = planned(world)

    def pass_time() -> None:
        if len(list(world.cloud.instances())) == 1:  # not while they are still prepared
            world.time += 60.0

    world.system.infraprocessor._creator._together = OneByOne(pass_time)  # type: ignore[assignment]
    world.system.infraprocessor.perform(node_ids)
    assert len(list(world.cloud.instances(alive=False))) == 1
    assert world.cloud.calls()["create"] == 1
    with world.system.store.read() as connection:
        left = operations.of(connection, infra_id)
    assert [(one.token, one.lease_until) for one in left] == [(None, None)] * 2, "given back, to be taken at once"


def test_a_set_that_lost_some_of_its_operations_calls_for_the_others_only(world: World) -> None:
    world.define(resource={"type": "simulated"})
    _, node_ids = planned(world)
    with world.system.store.write() as connection:
        jobs = world.system.infraprocessor._taker.take(connection, node_ids, world.now()).jobs
        operations.delete(connection, node_ids[2])
    list(world.system.infraprocessor._do(jobs))
    assert {one.node_id for one in world.living()} == set(node_ids[:2])
