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


def test_what_settles_is_looked_for_once_it_has_settled_by_every_clock(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again and again while beat says that the time has come, and the worker that it has not."""
    world = make_world(kind="simulated_no_tokens", tokens=False, timeout_rate=1.0)
    instructed_by_another_clock(world, monkeypatch, -0.9)
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: "create" in world.cloud.calls(), seconds=5)
    (made,) = world.living()
    world.cloud.kill(made.node_id)
    world.time += 1.0  # now it is gone by every clock
    world.cloud.set(timeout_rate=0.0, tokens=False)
    world.run_until(lambda: doubtful(world, infra_id).reason.code == "settling", seconds=60)
    looks, attempts = world.cloud.calls()["observe"], doubtful(world, infra_id).attempts
    world.run_until(lambda: world.cloud.calls()["create"] == 2, seconds=120)
    assert world.cloud.calls()["observe"] - looks <= 2
    assert attempts == 1, "it was looked for, not tried"


def doubtful(world: World, infra_id: str) -> Operation:
    with world.system.store.read() as connection:
        (found,) = operations.of(connection, infra_id)
    return found
