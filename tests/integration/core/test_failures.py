"""What becomes of creations that fail: the next implementation, backoff, waiting for a change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.model import instance
from occo_celery.plugins.resourcehandler import base, simulated
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
def test_what_is_accepted_and_then_fails_is_made_elsewhere_next(make_world: MakeWorld, seed: int) -> None:
    """Nova says only of a server that it has accepted that there is no valid host for it."""
    world = make_world(seed=seed)
    full, roomy = clouds(world, "full", "roomy")
    full.set(broken_rate=1.0)
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=60)
    assert full.calls().get("create", 0) <= 1
    assert len(roomy.instances()) == 1


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


# --- sections that lead nowhere -----------------------------------------------------------------------------------


@pytest.fixture
def misled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that trips over a section, whatever the schema let through."""
    leads_to = simulated.SimulatedHandler.account.__func__  # type: ignore[attr-defined]

    def account(cls: type, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        if section.get("endpoint") == "s3cret":
            raise KeyError(section["endpoint"])
        return str(leads_to(cls, section, options))

    monkeypatch.setattr(simulated.SimulatedHandler, "account", classmethod(account))


@pytest.mark.usefixtures("misled")
def test_a_section_that_trips_its_handler_up_stops_no_other_of_its_set(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    clouds(world, "s3cret")
    with world.system.store.write() as connection:
        good = {"resource": {"type": world.kind}, "health_check": {"ping": False}}
        definitions.replace(connection, {"good": [good]}, now=world.now())
    nodes = [{"name": "a", "type": "t"}, {"name": "b", "type": "good"}]
    infra_id = world.manager.add({"infra_name": "two", "nodes": nodes})
    world.deliver(1)
    world.messages.clear()
    with world.system.store.read() as connection:
        targets = [one.target for one in operations.of(connection, infra_id)]
    world.system.infraprocessor.perform(targets)
    assert len(world.living()) == 1
    waiting = operation(world, infra_id)
    assert (waiting.node_name, waiting.attempts, waiting.retry_at) == ("a", 1, None), "it waits for a change"
    assert waiting.reason is not None
    assert "no implementation" in waiting.reason.text()
    assert caplog.text.count("nobody expected KeyError") == 1
    assert "s3cret" not in caplog.text + waiting.reason.text()
    clouds(world, "a")
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 2, seconds=5)


@pytest.mark.usefixtures("misled")
@pytest.mark.parametrize("seed", range(4))
def test_an_implementation_that_leads_nowhere_is_passed_over(make_world: MakeWorld, seed: int) -> None:
    world = make_world(seed=seed)
    _, right = clouds(world, "s3cret", "right")
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=2)
    assert len(right.instances()) == 1


# --- what is not there yet ----------------------------------------------------------------------------------------


@pytest.fixture
def fetching(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cloud that gets what it needs first, for as long as the list is not empty. It holds what creations asked."""
    asked: list[str] = ["before"]
    create = simulated.SimulatedHandler.create

    def slow(self: Any, creation: base.Creation) -> base.Seen:
        if not asked:
            return create(self, creation)
        asked.append(str(creation.section["endpoint"]))
        raise errors.NotYet("image big is on its way", delay=7.0)

    monkeypatch.setattr(simulated.SimulatedHandler, "create", slow)
    return asked


@pytest.mark.parametrize("seed", range(3))
def test_what_is_being_prepared_is_asked_for_again_and_has_not_failed(
    make_world: MakeWorld, fetching: list[str], seed: int
) -> None:
    world = make_world(seed=seed)
    clouds(world, "a", "b", "c")
    infra_id = world.manager.add(ONE)
    world.run(99)
    waiting = operation(world, infra_id)
    assert (waiting.attempts, waiting.tried, waiting.begun) == (0, (), False)
    (node,) = world.manager.report(infra_id)["a"]["instances"].values()
    assert (node["state"], node["reason"]) == ("pending", "preparing: image big is on its way")
    assert 13 <= len(fetching) - 1 <= 15, "every 7 s, without backoff"
    assert len(set(fetching[1:])) == 1, "always in the same place"
    assert "nodefailed" not in [one.name for one in world.manager.events(infra_id)]
    fetching.clear()
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=10)


def test_what_is_being_prepared_is_dropped_without_waiting(make_world: MakeWorld, fetching: list[str]) -> None:
    world = make_world()
    clouds(world, "a")
    infra_id = world.manager.add(ONE)
    world.run(3)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down", seconds=5)
    assert len(fetching) == 2


@pytest.mark.parametrize("seconds", [1, 600])
def test_a_creation_in_doubt_that_is_not_ready_yet_is_no_less_in_doubt(
    make_world: MakeWorld, fetching: list[str], seconds: float
) -> None:
    """An earlier call was carried out, and its answer lost. seconds: before and after it would have been seen."""
    world = make_world()
    (cloud,) = clouds(world, "a")
    cloud.set(timeout_rate=1.0)
    fetching.clear()
    infra_id = world.manager.add(ONE)
    for _ in range(2):
        world.deliver()
    assert cloud.calls()["create"] == 1
    world.messages.clear()
    cloud.set(timeout_rate=0.0)
    fetching.append("now")
    world.time += seconds
    world.run(3)
    fetching.clear()
    world.run_until(lambda: world.states(infra_id) == ["ready"])
    assert len(cloud.instances(alive=False)) == 1
