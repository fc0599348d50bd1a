"""Each guard of docs/explanation/protocol.md in the situation that it is there for; taking one out fails its test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.infraprocessor import claims
from occo_celery.model import instance
from occo_celery.model.message import Claim
from occo_celery.plugins.resourcehandler import base
from occo_celery.uds import glances, infrastructures, leases, nodes, operations, schedule
from tests.world import World

ONE: dict[str, Any] = {"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]}
PAIR: dict[str, Any] = {
    "infra_name": "pair",
    "nodes": [{"name": "a", "type": "t"}, {"name": "b", "type": "t"}],
    "dependencies": [["b", "a"]],
}


@pytest.fixture(params=["sqlite"])
def database_url(sqlite_url: str) -> str:
    """One engine: what differs between engines is tested in tests/integration/uds."""
    return sqlite_url


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


def planned(world: World, infra_id: str, name: str) -> instance.Instance:
    (node,) = [one for one in all_nodes(world, infra_id) if one.node_name == name]
    return node


def all_nodes(world: World, infra_id: str) -> list[instance.Instance]:
    with world.system.store.read() as connection:
        return list(nodes.of(connection, infra_id))


def take(world: World, target: str) -> claims.Job | None:
    """Claim an operation as a worker does, and stop there."""
    with world.system.store.write() as connection:
        found = world.system.infraprocessor._taker.take(connection, [target], world.now()).jobs
    return found[0] if found else None


def perform(world: World, job: claims.Job | None) -> None:
    """Go on with a claimed operation, however late."""
    assert job is not None
    list(world.system.infraprocessor._do([job]))


def until_planned(world: World, infra_id: str, name: str) -> instance.Instance:
    """Deliver messages one by one until an instance of the node is intended, and not yet begun."""
    for _ in range(100):
        found = [one for one in all_nodes(world, infra_id) if one.node_name == name]
        if found:
            return found[0]
        world.time += 0.25
        world.deliver(1)
    raise AssertionError(f"no instance of {name} was planned")


def stands_still(world: World, seconds: float) -> None:
    """From now on whoever has asked a cloud what there is stands still before it makes anything of the answer."""
    point = world.life.point

    def late(what: str) -> None:
        point(what)
        if what == "after observe":
            world.time += seconds

    world.life.point = late  # type: ignore[method-assign]


def test_1_a_creation_that_was_overtaken_drops_what_it_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its call is under way, the row is dropped and archived."""
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    job = take(world, planned(world, infra_id, "a").node_id)
    make = world.system.infraprocessor._creator._make

    def overtaken(*arguments: Any) -> Any:
        with world.system.store.write() as connection:
            node = nodes.of(connection, infra_id)[0]
            operations.delete(connection, node.node_id)
            nodes.archive(connection, node, why="test", now=world.now())
        return make(*arguments)

    monkeypatch.setattr(world.system.infraprocessor._creator, "_make", overtaken)
    perform(world, job)
    assert len(list(world.cloud.instances(alive=False))) == 1, "the call was carried out"
    assert world.living() == []


def test_1_an_operation_is_held_by_one(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    assert take(world, node_id) is not None
    assert take(world, node_id) is None


def test_1_a_holder_that_was_overtaken_writes_nothing(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    first = take(world, node_id)
    world.time += 1000.0  # its lease is over
    second = take(world, node_id)
    assert first is not None
    assert second is not None
    token = first.operation.token or ""
    with world.system.store.write() as connection:
        assert not operations.held(connection, node_id, token, stage=7)
        assert not operations.give_back(connection, node_id, token, retry_at=0.0, reason=None)
        assert not operations.end(connection, [node_id], token)
        operation = operations.get(connection, node_id)
    assert operation is not None
    assert (operation.token, operation.stage) == (second.operation.token, 0)


def test_2_nothing_begins_while_it_is_suspended(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    with world.system.store.write() as connection:
        infrastructures.change(connection, infra_id, suspended=True)
    assert take(world, node_id) is None
    assert all_nodes(world, infra_id) == []


def test_2_an_intent_of_an_earlier_attach_is_not_begun(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    with world.system.store.write() as connection:
        infrastructures.change(connection, infra_id, attach_epoch=7)
    assert take(world, node_id) is None
    assert all_nodes(world, infra_id) == []


def test_3_a_dependee_that_has_gone_since_the_plan_holds_the_creation_back(world: World) -> None:
    infra_id = world.manager.add(PAIR)
    node_b = until_planned(world, infra_id, "b")
    node_a = planned(world, infra_id, "a")
    with world.system.store.write() as connection:
        nodes.observed(connection, node_a.node_id, node_a.version, status="failed")
    assert take(world, node_b.node_id) is None
    assert "b" not in {one.node_name for one in all_nodes(world, infra_id)}, "the next pass plans anew"


def test_4_a_call_is_not_sent_once_the_operation_was_taken_away(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    job = take(world, node_id)
    with world.system.store.write() as connection:
        operations.delete(connection, node_id)
    perform(world, job)
    assert "create" not in world.cloud.calls()


def test_4_a_call_that_could_outlast_its_lease_is_not_sent(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    job = take(world, planned(world, infra_id, "a").node_id)
    world.time += 80.0
    perform(world, job)
    assert list(world.cloud.instances(alive=False)) == []


def test_5_without_tokens_an_earlier_call_is_waited_for(make_world: Callable[..., World]) -> None:
    """It ends in a time-out and is carried out later, when the cloud has already been asked what there is."""
    world = make_world(kind="simulated_no_tokens", tokens=False, latency=22.0)
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    perform(world, take(world, planned(world, infra_id, "a").node_id))
    world.cloud.set(latency=0.0, tokens=False)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=200)
    world.run(60)
    assert len(list(world.cloud.instances(alive=False))) == 1


def test_5_without_tokens_a_call_is_not_repeated(make_world: Callable[..., World]) -> None:
    world = make_world(kind="simulated_no_tokens", tokens=False, timeout_rate=1.0)
    infra_id = world.manager.add(ONE)
    world.run(10)
    world.cloud.set(timeout_rate=0.0, tokens=False)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=200)
    assert len(list(world.cloud.instances(alive=False))) == 1


def test_5_an_answer_from_before_the_cloud_settled_is_none_however_late_it_is_read(
    make_world: Callable[..., World],
) -> None:
    """The earlier call is carried out between the answer, which shows nothing, and the time that is waited for."""
    world = make_world(kind="simulated_no_tokens", tokens=False, latency=22.0)
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    perform(world, take(world, node_id))
    world.cloud.set(latency=0.0, tokens=False)
    world.time += 1.5  # the call is carried out two seconds after its caller has given up
    job = take(world, node_id)
    assert isinstance(job, claims.CreateJob)
    stands_still(world, 75.0)
    perform(world, replace(job, ask=False))  # whether the account answers has been seen
    node = planned(world, infra_id, "a")
    assert (node.lifecycle, node.account is None) == (instance.Lifecycle.CREATING, False), "it stays where it is"
    world.reborn()
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=200)
    assert len(list(world.cloud.instances(alive=False))) == 1


def test_6_what_a_doubtful_creation_was_told_is_told_again(make_world: Callable[..., World]) -> None:
    """The cloud refuses a token that comes again with other parameters; a new definition does not matter to it."""
    world = make_world(timeout_rate=1.0, strict_tokens=True)
    infra_id = world.manager.add(ONE)
    world.run(1)
    world.define(resource={"type": "simulated", "instance_type": "large"})
    world.cloud.set(timeout_rate=0.0, strict_tokens=True)
    world.run_until(lambda: world.states(infra_id) == ["ready"], seconds=120)
    assert [one.instance_type for one in world.cloud.instances(alive=False)] == ["small"]


def test_7_a_list_that_lags_behind_is_no_proof_that_an_instance_has_gone(make_world: Callable[..., World]) -> None:
    world = make_world(stale=1.5)
    infra_id = world.manager.add(ONE)
    world.run(60)
    assert world.states(infra_id) == ["ready"]
    assert len(list(world.cloud.instances(alive=False))) == 1, "it was not replaced while it was not listed yet"


def test_7_an_instance_that_lists_do_not_show_yet_is_dropped_all_the_same(make_world: Callable[..., World]) -> None:
    """Made, recorded, not listed yet, torn down at once: the delete is sent by its recorded id."""
    world = make_world(stale=1.5)
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    perform(world, take(world, planned(world, infra_id, "a").node_id))
    world.manager.stop_provisioning(infra_id, wait_timeout=0)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down", seconds=120)
    assert world.living() == []


def test_7_a_drop_is_over_when_the_instance_was_not_listed_for_the_grace(world: World) -> None:
    """That a list does not show it, and that a delete finds nothing, may both be the cloud's list lagging behind."""
    infra_id = world.manager.add(ONE)
    world.run(5)
    (node,) = all_nodes(world, infra_id)
    world.manager.detach(infra_id)
    world.cloud.kill(node.node_id)
    handle = world.manager.tear_down(infra_id)
    grace = base_traits(world).absence_grace
    began = world.time
    while all_nodes(world, infra_id):
        world.run(0.25)
    assert world.time - began >= grace
    world.run_until(lambda: handle.state == "torn_down")


def test_7_a_list_that_is_read_late_is_no_younger(make_world: Callable[..., World]) -> None:
    """Two looks within the time that a list may lag behind; the pass of the second stands still before it judges."""
    world = make_world(stale=1.5)
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    perform(world, take(world, planned(world, infra_id, "a").node_id))
    for seconds in (0.0, 60.0):
        stands_still(world, seconds)
        with world.system.store.write() as connection:
            claim = schedule.wake(connection, infra_id, now=world.now(), token=world.new_id())
        assert claim is not None
        assert world.system.enactor.run(claim) == 1
        assert planned(world, infra_id, "a").missing_since is not None
        world.time += 0.5
    world.reborn()
    world.run(60)
    assert world.states(infra_id) == ["ready"]
    assert len(list(world.cloud.instances(alive=False))) == 1


def test_7_a_drop_that_reads_its_list_late_is_not_over(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.run(5)
    (node,) = all_nodes(world, infra_id)
    world.manager.detach(infra_id)
    world.cloud.kill(node.node_id)
    world.manager.tear_down(infra_id)
    while (operation := drop_of(world, node.node_id)) is None or operation.absent_since is None:
        world.run(0.25)
    assert operation.retry_at is not None
    world.time = operation.retry_at
    stands_still(world, 60.0)
    perform(world, take(world, node.node_id))
    assert all_nodes(world, infra_id), "two lists within the grace"


def drop_of(world: World, target: str) -> instance.Operation | None:
    with world.system.store.read() as connection:
        return operations.get(connection, target)


def base_traits(world: World) -> base.Traits:
    return world.system.clouds.traits({"type": world.kind})


def test_8_a_row_that_changed_during_the_pass_is_left_to_the_next(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.run(5)
    (node,) = all_nodes(world, infra_id)
    with world.system.store.write() as connection:
        assert nodes.observed(connection, node.node_id, node.version, status="unknown")
        assert not nodes.observed(connection, node.node_id, node.version, status="failed")
        dropping = instance.Lifecycle.DROPPING
        assert not nodes.move(connection, node.node_id, node.lifecycle, dropping, version=node.version)


def test_8_a_pass_that_was_overtaken_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is detached while it observes: its plan is not written."""
    infra_id = world.manager.add(ONE)
    observe = world.system.enactor._observe

    def detached_meanwhile(work: Any) -> Any:
        world.manager.stop_provisioning(infra_id, wait_timeout=0)
        return observe(work)

    monkeypatch.setattr(world.system.enactor, "_observe", detached_meanwhile)
    world.deliver(1)
    assert all_nodes(world, infra_id) == []


def test_8_a_lease_that_ran_out_is_taken_over_though_a_glance_would_be_enough(world: World) -> None:
    """Its holder is slow, and finds that what it decided is not to be written any more."""
    infra_id = world.manager.add(ONE)
    world.run(5)
    now = world.now()
    with world.system.store.write() as connection:
        claim = schedule.wake(connection, infra_id, now=now, token="v")
        assert claim is not None
        assert leases.take(connection, claim, now=now, until=now + 30, pass_token="slow") == [infra_id]
    world.run(60)
    with world.system.store.write() as connection:
        assert leases.release(connection, "slow", [infra_id]) == {}
        assert infrastructures.get(connection, infra_id).pass_token is None


def test_9_a_wake_up_during_a_pass_makes_another_follow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    infra_id = world.manager.add(ONE)
    world.run(5)
    observe = world.system.enactor._observe

    def woken_meanwhile(work: Any) -> Any:
        with world.system.store.write() as connection:
            assert schedule.wake(connection, infra_id, now=world.now(), token="w") is None
        return observe(work)

    monkeypatch.setattr(world.system.enactor, "_observe", woken_meanwhile)
    world.messages.clear()
    with world.system.store.write() as connection:
        claim = schedule.wake(connection, infra_id, now=world.now(), token="v")
    assert isinstance(claim, Claim)
    world.system.enactor.run(claim)
    assert len(world.messages) == 1


def test_9_what_is_asked_for_during_a_glance_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own message is lost; the pass that has glanced finds that it has been woken, and looks closer."""
    infra_id = world.manager.add(
        {"infra_name": "one", "nodes": [{"name": "a", "type": "t", "scaling": {"min": 1, "max": 2}}]}
    )
    world.run(5)
    observe = world.system.enactor._observe

    def asked_meanwhile(work: Any) -> Any:
        assert list(work.calm) == [infra_id]
        monkeypatch.setattr(world.system.enactor, "_observe", observe)
        world.manager.scale_to(infra_id, "a", 2)
        world.messages.clear()
        return observe(work)

    monkeypatch.setattr(world.system.enactor, "_observe", asked_meanwhile)
    with world.system.store.write() as connection:
        claim = schedule.wake(connection, infra_id, now=world.now(), token="v")
    assert isinstance(claim, Claim)
    assert world.system.enactor.run(replace(claim, woken=False)) == 1  # as beat publishes it
    assert len(all_nodes(world, infra_id)) == 2


def test_what_has_been_woken_is_looked_at_closely_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    infra_id = world.manager.add(ONE)
    world.run(5)
    glances_taken: list[Claim] = []
    monkeypatch.setattr(glances, "take", lambda _, claim: glances_taken.append(claim) or {})
    with world.system.store.write() as connection:
        claim = schedule.wake(connection, infra_id, now=world.now(), token="v")
    assert isinstance(claim, Claim)
    assert world.system.enactor.run(claim) == 1
    assert glances_taken == []


def test_10_detach_waits_for_a_call_that_is_under_way(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    take(world, planned(world, infra_id, "a").node_id)
    with pytest.raises(errors.StillRunning, match="create-node a"):
        world.manager.stop_provisioning(infra_id, wait_timeout=0)


def test_11_links_of_a_chain_that_was_replaced_do_nothing(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.run(5)
    world.manager.detach(infra_id)
    world.manager.tear_down(infra_id)
    assert world.system.teardown.drop_level(infra_id, "an earlier token", 0)
    assert world.states(infra_id) == ["ready"]
    with world.system.store.read() as connection:
        operation = operations.get(connection, infra_id)
    assert operation is not None
    assert operation.stage == 0


def test_11_the_sweep_drops_what_nobody_knew_of_and_sees_it_gone(make_world: Callable[..., World]) -> None:
    world = make_world(shutdown_time=4.0)
    infra_id = world.manager.add(ONE)
    world.run(5)
    world.manager.detach(infra_id)
    handler = world.system.clouds.handler(world.system.clouds.account({"type": "simulated"}), {"type": "simulated"})
    section = {"type": "simulated"}
    handler.create(base.Creation(node_id="unknown", infra_id=infra_id, node_name="a", section=section))
    assert len(world.living()) == 2
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down", seconds=120)
    assert handler.sweep(infra_id, 5.0) == ()
    assert world.living() == []


def test_5_a_refusal_does_not_forget_what_an_earlier_call_has_made(world: World) -> None:
    """The first call was carried out, its answer was lost; the second is refused, long after. Nothing may be made
    elsewhere then: what is there is taken over."""
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    world.cloud.set(timeout_rate=1.0)
    perform(world, take(world, node_id))
    world.cloud.set(timeout_rate=0.0)
    world.time += 1000.0
    job = take(world, node_id)
    assert isinstance(job, claims.CreateJob)
    assert not job.first
    world.system.infraprocessor._creator._refused(job, errors.TransientError("not now"))
    (made,) = world.living()
    assert planned(world, infra_id, "a").instance_id == made.instance_id


def test_5_a_drop_waits_for_the_doubt_of_a_call_that_was_sent(world: World) -> None:
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    node_id = planned(world, infra_id, "a").node_id
    with world.system.store.write() as connection:
        operations.delete(connection, node_id)
        node = nodes.get(connection, node_id)
        assert node is not None
    job = claims.DropJob(
        operation=instance.Operation(
            target=node_id,
            infra_id=infra_id,
            kind=instance.OperationKind.DROP,
            attach_epoch=1,
            doubt_until=world.now() + 50.0,
            absent_since=world.now() - 1000.0,
        ),
        node=node,
        send_until=world.now() + 5.0,
    )
    dropper, implementation = world.system.infraprocessor._dropper, {"resource": {"type": world.kind}}
    assert not dropper._believed(job, implementation, world.now())
    assert dropper._believed(job, implementation, world.now() + 50.0)
