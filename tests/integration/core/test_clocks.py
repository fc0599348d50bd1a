"""Clocks of programs that differ: what is sent because its time has come is taken, what is to wait is not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest

from occo_celery import wiring
from occo_celery.model.instance import Operation
from occo_celery.uds import operations
from tests.world import World

MakeWorld = Callable[..., World]
THREE = {
    "infra_name": "three",
    "nodes": [{"name": name, "type": "t"} for name in "abc"],
    "dependencies": [["b", "a"], ["c", "b"]],
}
ONE = {"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]}


def instructed_by_another_clock(world: World, monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    """Whoever performs instructions has a clock of its own. ahead: of all others, seconds."""
    send = world.operations

    def by_it(message: Callable[[wiring.System], None], system: wiring.System) -> None:
        world.time += ahead
        try:
            message(system)
        finally:
            world.time -= ahead

    def sent(some: Sequence[Operation]) -> None:
        before = len(world.messages)
        send(some)
        world.messages[before:] = [functools.partial(by_it, one) for one in world.messages[before:]]

    monkeypatch.setattr(world, "operations", sent)


@pytest.mark.parametrize("ahead", [-0.9, 0.9])
def test_clocks_that_differ_by_a_moment_hold_nothing_up(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    world = make_world()
    instructed_by_another_clock(world, monkeypatch, ahead)
    infra_id = world.manager.add(THREE)
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3, seconds=5)


def test_a_message_that_comes_before_the_time_of_what_waits_finds_nothing_to_do(make_world: MakeWorld) -> None:
    world = make_world()
    world.cloud.set(quota=0)
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: "create" in world.cloud.calls(), seconds=5)
    with world.system.store.read() as connection:
        (waiting,) = operations.of(connection, infra_id)
    assert waiting.retry_at is not None
    world.time = waiting.retry_at - operations.CLOCKS_DIFFER - 0.1
    world.system.infraprocessor.perform([waiting.target])
    assert world.cloud.calls().get("create", 0) == 1
    world.time += 0.2
    world.system.infraprocessor.perform([waiting.target])
    assert world.cloud.calls().get("create", 0) == 2
