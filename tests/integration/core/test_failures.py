"""What becomes of creations that fail: the next implementation, backoff, waiting for a change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from occo_celery.model import instance
from occo_celery.plugins.resourcehandler.simulated_cloud import SimulatedCloud
from occo_celery.uds import definitions, operations
from tests.world import World

MakeWorld = Callable[..., World]

ONE: dict[str, Any] = {"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]}


def clouds(world: World, *endpoints: str, **sections: dict[str, Any]) -> list[SimulatedCloud]:
    """One implementation of the node type on each endpoint."""
    implementations = [
        {
            "resource": {"type": world.kind, "endpoint": name, **sections.get(name, {})},
            "health_check": {"ping": False},
        }
        for name in endpoints
    ]
    with world.system.store.write() as connection:
        definitions.replace(connection, {"t": implementations}, now=world.now())
    return [SimulatedCloud(world.folder / "cloud.sqlite", name, clock=world.now) for name in endpoints]


def operation(world: World, infra_id: str) -> instance.Operation:
    with world.system.store.read() as connection:
        (found,) = operations.of(connection, infra_id)
    return found


@pytest.mark.parametrize("seed", range(4))  # the first choice is random
def test_where_there_is_no_room_the_next_implementation_is_tried(make_world: MakeWorld, seed: int) -> None:
    world = make_world(seed=seed)
    full, roomy = clouds(world, "full", "roomy")
    full.set(quota=0)
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=5)
    assert (len(full.instances(alive=False)), len(roomy.instances())) == (0, 1)
    assert full.calls().get("create", 0) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_what_can_never_be_made_here_is_made_elsewhere_at_once(make_world: MakeWorld, seed: int) -> None:
    world = make_world(seed=seed)
    wrong, right = clouds(world, "wrong", "right", wrong={"image": "missing"})
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=2)
    assert (len(wrong.instances(alive=False)), len(right.instances())) == (0, 1)


def test_the_one_that_failed_longest_ago_is_tried_first(make_world: MakeWorld) -> None:
    world = make_world()
    some = clouds(world, "a", "b", "c")
    for one in some:
        one.set(quota=0)
    infra_id = world.manager.add(ONE)
    world.run(1)
    world.run_until(lambda: len(operation(world, infra_id).tried) == 6)
    tried = operation(world, infra_id).tried
    assert sorted(tried[:3]) == [0, 1, 2]
    assert tried[3:] == tried[:3]


def test_a_creation_in_doubt_stays_where_it_is(make_world: MakeWorld) -> None:
    """Else two clouds might hold it."""
    world = make_world()
    some = clouds(world, "a", "b")
    for one in some:
        one.set(timeout_rate=1.0)
    infra_id = world.manager.add(ONE)
    world.run(20)
    assert sorted(len(one.instances(alive=False)) for one in some) == [0, 1]
    for one in some:
        one.set(timeout_rate=0.0)
    world.run_until(lambda: world.states(infra_id) == ["ready"])
    assert sorted(len(one.instances(alive=False)) for one in some) == [0, 1]


def test_failures_back_off_with_jitter_up_to_five_minutes(make_world: MakeWorld) -> None:
    world = make_world()
    world.cloud.set(failure_rate=1.0)
    world.manager.add(ONE)
    times: list[float] = []
    calls = 0
    while len(times) < 14:
        world.run(0.25)
        now = world.cloud.calls().get("create", 0)
        if now > calls:
            times.append(world.time)
            calls = now
    waits = [after - before for before, after in itertools.pairwise(times)]
    for number, wait in enumerate(waits):
        longest = min(300.0, 2.0**number)
        assert longest / 2 <= wait <= longest + 1.0, waits  # beat and messages take a moment
    assert len({round(wait, 1) for wait in waits[-4:]}) > 1, "without jitter all would come back together"


def test_a_cloud_that_asks_for_a_delay_is_given_it(make_world: MakeWorld) -> None:
    world = make_world()
    world.cloud.set(throttled=120.0)
    world.manager.add(ONE)
    world.run(1)
    assert world.cloud.calls()["create"] == 1
    world.run(115)
    assert world.cloud.calls()["create"] == 1
    world.run(10)
    assert world.cloud.calls()["create"] == 2


def test_a_permanent_error_waits_for_a_new_definition(make_world: MakeWorld) -> None:
    world = make_world()
    clouds(world, "a", a={"image": "missing"})
    infra_id = world.manager.add(ONE)
    world.run(600)
    waiting = operation(world, infra_id)
    assert (waiting.attempts, waiting.retry_at) == (1, None)
    (node,) = world.manager.report(infra_id)["a"]["instances"].values()
    assert "InvalidAMIID.NotFound" in node["reason"]
    clouds(world, "a")
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=5)
