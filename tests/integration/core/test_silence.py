"""An account that does not answer: its instructions wait, it is asked now and then, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.api import accounts as overviews
from occo_celery.infraprocessor.hearing import Hearing
from occo_celery.model import instance
from occo_celery.plugins.resourcehandler import simulated
from occo_celery.plugins.resourcehandler.simulated_cloud import SimulatedCloud
from occo_celery.uds import accounts, definitions, nodes, operations, schedule
from tests.world import World

MakeWorld = Callable[..., World]


def infra(node_type: str, count: int = 1, name: str = "flat") -> dict[str, Any]:
    return {"infra_name": name, "nodes": [{"name": "a", "type": node_type, "scaling": {"min": count, "max": 9}}]}


def two(world: World) -> tuple[SimulatedCloud, SimulatedCloud]:
    """Accounts ``ill`` and ``well``: nodes of those types are made there, nodes of type ``either`` on one of them."""
    places = {
        name: {"resource": {"type": world.kind, "endpoint": name}, "health_check": {"ping": False}}
        for name in ("ill", "well")
    }
    with world.system.store.write() as connection:
        known = {**{name: [one] for name, one in places.items()}, "either": list(places.values())}
        definitions.replace(connection, known, now=world.now())
    ill, well = (SimulatedCloud(world.folder / "cloud.sqlite", name, clock=world.now) for name in places)
    return ill, well


def account(world: World, endpoint: str) -> str:
    return world.system.clouds.account({"type": world.kind, "endpoint": endpoint})


def silence(world: World, cloud: SimulatedCloud) -> None:
    """The account does not answer, and that is known."""
    cloud.set(silent=True)
    with world.system.store.write() as connection:
        for _ in range(accounts.MISSES):
            name = account(world, cloud.endpoint)
            accounts.missed(connection, name, reason="no answer", now=world.now())


def is_silent(world: World, endpoint: str) -> bool:
    with world.system.store.read() as connection:
        return accounts.silent(connection).get(account(world, endpoint)) is not None


def waiting(world: World, infra_id: str) -> list[instance.Operation]:
    with world.system.store.read() as connection:
        return [one for one in operations.of(connection, infra_id) if one.kind is not instance.OperationKind.TEARDOWN]


def ready(world: World, infra_id: str, count: int) -> None:
    world.run_until(lambda: world.states(infra_id) == ["ready"] * count)


def calls(cloud: SimulatedCloud) -> int:
    return sum(cloud.calls().values())


def detached(world: World, infra_id: str) -> None:
    """Detach without waiting for what has begun."""
    with pytest.raises(errors.StillRunning):
        world.manager.stop_provisioning(infra_id, wait_timeout=0)


# --- passes -------------------------------------------------------------------------------------------------------


def test_what_was_ready_on_an_account_that_has_gone_silent_is_not_looked_for(make_world: MakeWorld) -> None:
    """Not by a glance either; elsewhere a glance stays enough."""
    world = make_world()
    ill, well = two(world)
    there, elsewhere = (world.manager.add(infra(name, name=name)) for name in ("ill", "well"))
    for infra_id in (there, elsewhere):
        ready(world, infra_id, 1)
    world.run(10)  # passes have said that they are
    silence(world, ill)
    before = calls(ill), calls(well)
    for infra_id in (there, elsewhere):
        with world.system.store.write() as connection:
            claim = schedule.wake(connection, infra_id, now=world.now(), token=infra_id)
        assert claim is not None
        assert world.system.enactor.run(replace(claim, woken=False)) == 1  # as beat publishes it
    assert (calls(ill), calls(well)) == (before[0], before[1] + 1)
    assert (world.states(there), world.states(elsewhere)) == (["unknown"], ["ready"])


def test_an_account_that_does_not_answer_a_glance_is_not_asked_again_in_that_pass(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    infra_id = world.manager.add(infra("ill"))
    ready(world, infra_id, 1)
    world.run(10)
    ill.set(silent=True)
    before = calls(ill)
    with world.system.store.write() as connection:
        claim = schedule.wake(connection, infra_id, now=world.now(), token="w")
    assert claim is not None
    assert world.system.enactor.run(replace(claim, woken=False)) == 1  # as beat publishes it
    assert calls(ill) == before + 1
    assert world.states(infra_id) == ["unknown"]
    with world.system.store.read() as connection:
        (node,) = nodes.of(connection, infra_id)
        assert "does not answer" in node.reason.text()
        (one,) = [one for one in accounts.known(connection) if one.account == account(world, "ill")]
    assert one.misses == 1


# --- drops --------------------------------------------------------------------------------------------------------


def test_drops_wait_and_one_asks_whether_the_account_is_back(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    infra_id = world.manager.add(infra("ill", 6))
    ready(world, infra_id, 6)
    world.manager.detach(infra_id)
    ill.set(silent=True)
    handle = world.manager.tear_down(infra_id)
    world.run(5.0)
    assert is_silent(world, "ill"), "drops find it out as passes do"
    before = calls(ill)
    world.run(10 * accounts.SILENCE)
    assert 9 <= calls(ill) - before <= 11, "one call in that time, however many wait"
    said = [one.reason.code for one in waiting(world, infra_id) if one.reason is not None]
    assert said.count("account_silent") >= 2
    assert sum(one.attempts for one in waiting(world, infra_id)) <= 30, "those that only wait were not tried"
    assert any("account_silent: simulated:" in one for one in handle.progress.trouble)
    assert handle.state == "tearing_down"
    ill.set(silent=False)
    world.run_until(lambda: handle.state == "torn_down", seconds=400.0)
    assert ill.instances(alive=True) == []
    assert not is_silent(world, "ill")


def test_a_silent_account_pauses_only_itself_in_one_set(make_world: MakeWorld) -> None:
    world = make_world()
    ill, well = two(world)
    pair = {"infra_name": "pair", "nodes": [{"name": name, "type": name} for name in ("ill", "well")]}
    infra_id = world.manager.add(pair)
    ready(world, infra_id, 2)
    silence(world, ill)
    world.manager.detach(infra_id)
    world.messages.clear()
    world.manager.tear_down(infra_id)
    world.deliver(1)  # both are on one level
    targets = [one.target for one in waiting(world, infra_id)]
    assert len(targets) == 2
    before = calls(ill)
    world.system.infraprocessor.perform(targets)
    assert calls(ill) == before
    assert well.instances(alive=True) == []
    (left,) = [one for one in waiting(world, infra_id) if one.node_name == "ill"]
    assert (left.attempts, left.retry_at) == (0, world.now() + accounts.SILENCE)


def test_while_one_asks_whether_the_account_is_back_the_others_wait(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    infra_id = world.manager.add(infra("ill", 3))
    ready(world, infra_id, 3)
    world.manager.detach(infra_id)
    world.messages.clear()
    world.manager.tear_down(infra_id)
    world.deliver(1)
    silence(world, ill)
    targets = [one.target for one in waiting(world, infra_id)]

    def taken() -> list[int]:
        """How many jobs each of three workers gets."""
        found = []
        for target in targets:
            with world.system.store.write() as connection:
                found.append(len(world.system.infraprocessor._taker.take(connection, [target], world.now()).jobs))
        return found

    assert taken() == [0, 0, 0]
    world.time += accounts.SILENCE
    assert taken() == [1, 0, 0]


def test_a_silent_account_pauses_only_itself_in_passes(make_world: MakeWorld) -> None:
    world = make_world()
    ill, well = two(world)
    here, there = (world.manager.add(infra(name, 2, name)) for name in ("ill", "well"))
    for infra_id in (here, there):
        ready(world, infra_id, 2)
    ill.set(silent=True)
    world.run_until(lambda: is_silent(world, "ill"))
    world.manager.scale_up(here, "a", 1)
    victim = well.instances(alive=True)[0]
    well.kill(victim.node_id)
    before = calls(ill)
    world.run_until(lambda: len(well.instances(alive=True)) == 2 and world.states(there) == ["ready"] * 2)
    world.run(2 * accounts.SILENCE)
    assert world.states(here) == ["pending", "unknown", "unknown"]
    assert calls(ill) - before <= 6, "the passes and instructions of it ask in turn, not each"
    instances = world.manager.report(here)["a"]["instances"].values()
    (waits,) = [one["reason"] for one in instances if one["state"] == "pending"]
    assert waits.startswith(f"account_silent: {account(world, 'ill')}")
    ill.set(silent=False)
    ready(world, here, 3)


def test_the_sweep_of_a_teardown_waits_and_says_so(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    infra_id = world.manager.add(infra("ill"))
    ready(world, infra_id, 1)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.progress.stage == 1)
    silence(world, ill)
    before = calls(ill)
    world.run(5 * accounts.SILENCE)
    assert calls(ill) - before <= 6
    assert handle.state == "tearing_down"
    (trouble,) = handle.progress.trouble
    assert account(world, "ill") in trouble
    assert "sweep_failed" in trouble
    ill.set(silent=False)
    world.run_until(lambda: handle.state == "torn_down")
    assert handle.progress.trouble == ()


# --- creations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))  # the first choice is random
def test_what_may_be_made_elsewhere_is(make_world: MakeWorld, seed: int) -> None:
    world = make_world(seed=seed)
    ill, well = two(world)
    silence(world, ill)
    infra_id = world.manager.add(infra("either", 3))
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3, seconds=20.0)
    assert len(well.instances()) == 3
    assert calls(ill) == 0


def test_what_can_be_made_nowhere_else_waits_and_is_not_tried(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    silence(world, ill)
    infra_id = world.manager.add(infra("ill", 4))
    world.run(4 * accounts.SILENCE)
    some = waiting(world, infra_id)
    assert [(one.attempts, one.begun, one.tried) for one in some] == [(0, False, ())] * 4
    assert {one.reason.code for one in some if one.reason is not None} == {"account_silent"}
    assert ill.calls().get("create", 0) == 0, "who asks whether it is back asks with a look"
    assert "nodefailed" not in [one.name for one in world.manager.events(infra_id)]
    ill.set(silent=False)
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 4, seconds=3 * accounts.SILENCE)


def test_nothing_more_is_bound_to_an_account_once_a_creation_was_not_answered(make_world: MakeWorld) -> None:
    """Nobody knows whether it was made, so that it stays where it is; those after it look first."""
    world = make_world()
    ill, well = two(world)
    ill.set(timeout_rate=1.0)
    first = world.manager.add(infra("ill"))
    world.run_until(lambda: ill.calls().get("create", 0) == 1)
    ill.set(silent=True, timeout_rate=0.0)
    second = world.manager.add(infra("either", 4))
    ready(world, second, 4)
    assert len(well.instances()) == 4
    assert ill.calls()["create"] == 1
    ill.set(silent=False)
    ready(world, first, 1)
    assert len(ill.instances()) == 1


def test_an_account_that_refuses_to_list_is_not_silent(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    ill, _ = two(world)
    with world.system.store.write() as connection:
        accounts.doubted(connection, account(world, "ill"), reason="no answer to a creation")

    def refuse(*_: Any) -> None:
        raise errors.PermanentError("UnauthorizedOperation: you may not list")

    monkeypatch.setattr(simulated.SimulatedHandler, "observe", refuse)
    world.manager.add(infra("ill"))
    for _ in range(2):
        world.deliver()
    assert len(ill.instances()) == 1


def test_what_waits_for_a_silent_account_holds_up_no_other_node(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    silence(world, ill)
    world.manager.process_strategy = "sequential"
    pair = {"infra_name": "pair", "nodes": [{"name": name, "type": name} for name in ("ill", "well")]}
    infra_id = world.manager.add(pair)
    world.run_until(lambda: world.states(infra_id) == ["pending", "ready"], seconds=60.0)
    (row,) = [one for one in overviews.overview(world.system) if one.account == account(world, "ill")]
    assert row.silent_until is not None


def test_a_detached_infrastructure_leaves_what_waits_for_a_silent_account(make_world: MakeWorld) -> None:
    world = make_world()
    ill, _ = two(world)
    silence(world, ill)
    infra_id = world.manager.add(infra("ill"))
    world.run(3.0)
    world.manager.detach(infra_id)
    assert waiting(world, infra_id) == []
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down", seconds=10.0)


def test_a_creation_in_doubt_waits_for_its_account(make_world: MakeWorld) -> None:
    world = make_world(kind="simulated_no_tokens")
    ill, _ = two(world)
    ill.set(timeout_rate=1.0)
    infra_id = world.manager.add(infra("ill"))
    world.run_until(lambda: ill.calls().get("create", 0) == 1)
    ill.set(timeout_rate=0.0)
    silence(world, ill)
    world.run(20 * accounts.SILENCE)
    (one,) = waiting(world, infra_id)
    assert (one.begun, one.reason is not None and one.reason.code) == (True, "account_silent")
    detached(world, infra_id)
    ill.set(silent=False)
    world.run_until(lambda: waiting(world, infra_id) == [])
    assert ill.instances(alive=True) == [], "what had begun is undone"


# --- hearing ------------------------------------------------------------------------------------------------------


def test_one_slow_call_among_others_that_are_answered_is_no_silence(make_world: MakeWorld) -> None:
    world = make_world()
    hearing = Hearing(world.system.store, world.now)

    def answered(name: str) -> None:
        with hearing.call(name):
            pass

    def unanswered(meanwhile: str) -> None:
        with hearing.call("one"):
            answered(meanwhile)
            raise errors.CloudSilent("no answer within 20 s")

    def slow(meanwhile: str) -> None:
        with pytest.raises(errors.CloudSilent):
            unanswered(meanwhile)

    def misses() -> dict[str, float | None]:
        with world.system.store.read() as connection:
            return accounts.silent(connection)

    slow(meanwhile="one")
    assert misses() == {}
    slow(meanwhile="another")
    assert misses() == {"one": None}
    slow(meanwhile="another")
    assert misses() == {"one": world.now() + accounts.SILENCE}
    answered("one")
    assert misses() != {}, "this process does not know that there is anything to write down"
    hearing.suspect(misses().keys())
    answered("one")
    assert misses() == {}
