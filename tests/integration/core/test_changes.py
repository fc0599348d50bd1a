"""Changes to running infrastructures through the real core: scaling, updating, suspending, retrying, replacing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.model.request import Kind, Request
from occo_celery.uds import infrastructures, nodes, requests, schedule
from tests.world import World

MakeWorld = Callable[..., World]

WEB: dict[str, Any] = {
    "infra_name": "web",
    "nodes": [
        {"name": "db", "type": "t"},
        {"name": "app", "type": "t", "scaling": {"min": 1, "max": 4}},
    ],
    "dependencies": [["app", "db"]],
    "variables": {"release": "1"},
}


def web(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(WEB), **changes}


def quiet(world: World, infra_id: str) -> bool:
    """Ready, as the passes see it."""
    with world.system.store.read() as connection:
        return infrastructures.get(connection, infra_id).ready_since is not None


def settled(world: World, infra_id: str, seconds: float = 600) -> None:
    world.run_until(lambda: quiet(world, infra_id), seconds)


def built(world: World, description: dict[str, Any] = WEB) -> str:
    infra_id = world.manager.add(description)
    settled(world, infra_id)
    return infra_id


def count(world: World, infra_id: str, node: str) -> int:
    return sum(one.node_name == node for one in world.living(infra_id))


def of(world: World, infra_id: str, node: str) -> list[str]:
    return list(world.manager.report(infra_id)[node]["instances"])


def told(world: World, infra_id: str, name: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in world.manager.events(infra_id) if event.name == name]


# --- scaling -------------------------------------------------------------------------------------------------------


def test_up_down_and_to(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    for ask, wanted in (
        (lambda: world.manager.scale_up(infra_id, "app", 2), 3),
        (lambda: world.manager.scale_down(infra_id, "app"), 2),
        (lambda: world.manager.scale_to(infra_id, "app", 4), 4),
        (lambda: world.manager.scale_down(infra_id, "app", count=3), 1),
    ):
        assert ask() == wanted
        assert not quiet(world, infra_id)
        settled(world, infra_id)
        assert count(world, infra_id, "app") == wanted
        assert world.manager.report(infra_id)["app"]["scaling"]["target"] == wanted


def test_a_request_needs_no_interval_to_pass(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.run(1)  # let the last pass be over, and its gap
    world.manager.scale_up(infra_id, "app")
    for _ in range(10):
        world.deliver()
    assert count(world, infra_id, "app") == 2


@pytest.mark.parametrize("by", ["node_id", "address"])
def test_the_named_instance_goes(make_world: MakeWorld, by: str) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.scale_to(infra_id, "app", 3)
    settled(world, infra_id)
    oldest = world.living(infra_id)[1]
    assert oldest.node_name == "app"
    world.manager.scale_down(infra_id, "app", oldest.node_id if by == "node_id" else oldest.address)
    settled(world, infra_id)
    assert count(world, infra_id, "app") == 2
    assert oldest.node_id not in of(world, infra_id, "app")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda manager, infra: manager.scale_up(infra, "app", 4), "would have 5 instances; its limits are 1 to 4"),
        (lambda manager, infra: manager.scale_down(infra, "app"), "would have 0 instances; its limits are 1 to 4"),
        (lambda manager, infra: manager.scale_to(infra, "db", 2), "would have 2 instances; its limits are 1 to 1"),
        (lambda manager, infra: manager.scale_up(infra, "app", 0), "at least 1"),
        (lambda manager, infra: manager.scale_to(infra, "app", -1), "at least 1"),
        (lambda manager, infra: manager.scale_up(infra, "ap"), "did you mean 'app'"),
        (
            lambda manager, infra: manager.scale_down(infra, "app", "10.9.9.9"),
            "no instance '10.9.9.9'; its instances",
        ),
        (lambda manager, infra: manager.scale_down(infra, "app", "x", 2), "by one, not by 2"),
        (lambda manager, infra: manager.scale_up("nobody", "app"), "no infrastructure 'nobody'"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    make_world: MakeWorld, ask: Callable[[Any, str], None], message: str
) -> None:
    world = make_world()
    infra_id = built(world)
    with pytest.raises(errors.OccoError, match=message):
        ask(world.manager, infra_id)
    with world.system.store.read() as connection:
        assert requests.of(connection, [infra_id]) == {}
    assert quiet(world, infra_id)


def test_requests_that_wait_count_for_the_limits(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    assert world.manager.scale_up(infra_id, "app", 2) == 3
    assert world.manager.scale_up(infra_id, "app") == 4
    with pytest.raises(errors.ScalingError, match="1 to 4, it has 4 now"):
        world.manager.scale_up(infra_id, "app")


def test_one_instance_cannot_be_named_twice(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.scale_to(infra_id, "app", 3)
    settled(world, infra_id)
    victim = of(world, infra_id, "app")[0]
    world.manager.scale_down(infra_id, "app", victim)
    with pytest.raises(errors.ScalingError, match="is to be dropped already"):
        world.manager.scale_down(infra_id, "app", victim)


def test_a_request_waits_for_the_infrastructure_to_be_attached(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    world.manager.scale_up(infra_id, "app")
    world.run(30)
    assert count(world, infra_id, "app") == 1
    world.manager.attach(infra_id)
    settled(world, infra_id)
    assert count(world, infra_id, "app") == 2


def test_what_the_limits_do_not_allow_any_more_is_clamped_and_said(make_world: MakeWorld) -> None:
    """Refused when it is asked for; but limits may change between the request and the pass."""
    world = make_world()
    infra_id = built(world)
    world.manager.scale_to(infra_id, "app", 4)
    narrower = web(nodes=[WEB["nodes"][0], {"name": "app", "type": "t", "scaling": {"min": 1, "max": 2}}])
    world.manager.update_infrastructure(infra_id, narrower)
    settled(world, infra_id)
    assert count(world, infra_id, "app") == 2
    said = told(world, infra_id, "scaled")[-1]
    assert (said["before"], said["asked"], said["after"]) == (1, 4, 2)


def test_a_request_of_a_node_that_is_gone_is_over(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.scale_up(infra_id, "app")
    world.manager.update_infrastructure(infra_id, web(nodes=[WEB["nodes"][0]], dependencies=[]))
    settled(world, infra_id)
    assert "no such node" in told(world, infra_id, "scaled")[-1]["refused"]
    assert len(world.living(infra_id)) == 1


def test_a_request_is_carried_out_once_though_its_pass_is_doubled(make_world: MakeWorld) -> None:
    """Two passes plan with the same request; the second finds that it has been acted on and writes nothing."""
    world = make_world()
    infra_id = built(world)
    world.manager.scale_up(infra_id, "app")
    enactor, observe = world.system.enactor, world.system.enactor._observe

    def overtaken(work: Any) -> Any:
        enactor._observe = observe
        with world.system.store.write() as connection:  # another has acted on the request meanwhile
            found = requests.of(connection, [infra_id])[infra_id]
            assert requests.consume(connection, found)
            infrastructures.change(connection, infra_id, targets={"app": 3})  # and on one that came after it
        return observe(work)

    enactor._observe = overtaken
    world.deliver()
    assert enactor._observe is observe
    settled(world, infra_id)
    assert count(world, infra_id, "app") == 3


def test_requests_are_over_with_the_infrastructure(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    world.manager.scale_up(infra_id, "app")
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down")
    with world.system.store.read() as connection:
        assert requests.of(connection, [infra_id]) == {}
    with pytest.raises(errors.InfrastructureIDNotFoundException, match="torn down"):
        world.manager.scale_up(infra_id, "app")


def test_the_named_instance_goes_though_its_row_changes_meanwhile(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.scale_to(infra_id, "app", 3)
    settled(world, infra_id)
    victim = of(world, infra_id, "app")[0]
    world.manager.scale_down(infra_id, "app", victim)
    enactor, observe = world.system.enactor, world.system.enactor._observe

    def disturbed(work: Any) -> Any:
        enactor._observe = observe
        with world.system.store.write() as connection:
            nodes.mark(connection, victim, None)  # raises the row's version
        return observe(work)

    enactor._observe = disturbed
    settled(world, infra_id)
    assert victim not in of(world, infra_id, "app")
    assert count(world, infra_id, "app") == 2


# --- updating ------------------------------------------------------------------------------------------------------


def test_an_update_keeps_what_is_unchanged(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = world.living(infra_id)
    added = [*WEB["nodes"], {"name": "cache", "type": "t"}]
    assert world.manager.update_infrastructure(infra_id, web(nodes=added)) == 2
    settled(world, infra_id)
    assert world.living(infra_id)[:2] == before
    assert count(world, infra_id, "cache") == 1
    assert world.manager.update_infrastructure(infra_id, WEB) == 3
    settled(world, infra_id)
    assert world.living(infra_id) == before


def test_the_same_description_again_changes_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = world.living(infra_id)
    assert world.manager.update_infrastructure(infra_id, WEB) == 1
    settled(world, infra_id)
    assert world.living(infra_id) == before


def lowest_ready(world: World, infra_id: str, node: str) -> tuple[int, int]:
    """Least ready and most living instances of a node until the infrastructure is ready again."""
    least, most = 99, 0
    while not quiet(world, infra_id):
        world.run(0.25)
        states = [one["state"] for one in world.manager.report(infra_id)[node]["instances"].values()]
        least, most = min(least, states.count("ready")), max(most, count(world, infra_id, node))
    return least, most


def test_rolling_never_has_fewer_ready_and_one_more_at_most(make_world: MakeWorld) -> None:
    world = make_world(boot_time=2.0)
    infra_id = built(world)
    world.manager.scale_to(infra_id, "app", 3)
    settled(world, infra_id)
    before = {one.node_id for one in world.living(infra_id)}
    world.manager.update_infrastructure(infra_id, web(variables={"release": "2"}))
    assert lowest_ready(world, infra_id, "app") == (3, 4)
    after = {one.node_id for one in world.living(infra_id)}
    assert len(after) == 4
    assert not before & after


def test_recreate_drops_all_that_changed_first(make_world: MakeWorld) -> None:
    world = make_world(boot_time=2.0)
    infra_id = built(world)
    world.manager.scale_to(infra_id, "app", 3)
    settled(world, infra_id)
    world.manager.update_infrastructure(infra_id, web(variables={"release": "2"}), "recreate")
    assert lowest_ready(world, infra_id, "app") == (0, 3)
    assert len(world.living(infra_id)) == 4


def test_ignore_replaces_nothing_but_makes_new_ones_from_the_new_description(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = world.living(infra_id)
    world.manager.update_infrastructure(infra_id, web(variables={"release": "2"}), "ignore")
    world.manager.scale_to(infra_id, "app", 2)
    settled(world, infra_id)
    assert world.living(infra_id)[:2] == before
    assert count(world, infra_id, "app") == 2


def test_an_update_that_cannot_come_up_keeps_the_old_ones_and_can_be_taken_back(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = world.living(infra_id)
    world.define(resource={"type": "simulated", "image": "missing"})
    world.manager.update_infrastructure(infra_id, WEB)
    world.run(60)
    assert not quiet(world, infra_id)
    assert world.living(infra_id) == before
    world.define()
    world.manager.update_infrastructure(infra_id, WEB)
    settled(world, infra_id)
    assert world.living(infra_id) == before


def test_importing_a_definition_replaces_nothing_until_an_update(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = world.living(infra_id)
    world.define(resource={"type": "simulated", "instance_type": "large"})
    world.run(30)
    assert world.living(infra_id) == before
    world.manager.update_infrastructure(infra_id, WEB)
    settled(world, infra_id)
    assert {one.instance_type for one in world.living(infra_id)} == {"large"}


def test_a_pass_that_planned_for_the_old_description_writes_no_intents(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = world.manager.add(WEB)
    enactor, observe = world.system.enactor, world.system.enactor._observe

    def updated(work: Any) -> Any:
        enactor._observe = observe
        world.manager.update_infrastructure(infra_id, web(nodes=[{"name": "only", "type": "t"}], dependencies=[]))
        return observe(work)

    enactor._observe = updated
    settled(world, infra_id)
    assert [one["node"] for one in told(world, infra_id, "nodecreating")] == ["only"]


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        (web(infra_name="other"), "keeps its infra_name"),
        (web(nodes=[{"name": "db", "type": "unheard-of"}]), "unheard-of"),
    ],
)
def test_an_update_that_cannot_be_changes_nothing(
    make_world: MakeWorld, description: dict[str, Any], problem: str
) -> None:
    world = make_world()
    infra_id = built(world)
    with pytest.raises(errors.OccoError, match=problem):
        world.manager.update_infrastructure(infra_id, description)
    with world.system.store.read() as connection:
        assert infrastructures.get(connection, infra_id).generation == 1
    with pytest.raises(ValueError, match="rolling, recreate, ignore"):
        world.manager.update_infrastructure(infra_id, WEB, "quickly")


# --- suspending ----------------------------------------------------------------------------------------------------


def test_suspended_nothing_is_healed_and_resumed_it_is(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.suspend(infra_id)
    world.cloud.kill(world.living(infra_id)[1].node_id, listed=True)
    calls = world.cloud.calls()
    world.run(60)
    assert world.cloud.calls() == calls
    assert len(world.living(infra_id)) == 1
    assert world.manager.list()[0].suspended
    with pytest.raises(errors.InfrastructureSuspendedError, match="already"):
        world.manager.suspend(infra_id)
    world.manager.resume(infra_id)
    settled(world, infra_id)
    assert len(world.living(infra_id)) == 2
    with pytest.raises(errors.InfrastructureSuspendedError, match="not suspended"):
        world.manager.resume(infra_id)


def test_what_was_planned_when_it_was_suspended_is_not_begun(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = world.manager.add(WEB)
    world.deliver(1)  # the pass; its creation is on its way
    messages = list(world.messages)
    world.manager.suspend(infra_id)
    world.run(30)
    assert world.cloud.instances(alive=False) == []
    for message in messages:  # late ones
        message(world.system)
    assert world.cloud.instances(alive=False) == []
    world.manager.resume(infra_id)
    settled(world, infra_id)
    assert len(world.cloud.instances(alive=False)) == 2


def test_a_suspended_infrastructure_can_be_detached_torn_down_or_attached(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.suspend(infra_id)
    world.manager.detach(infra_id)
    with pytest.raises(errors.InfrastructureIDNotFoundException, match="not being provisioned"):
        world.manager.suspend(infra_id)
    world.manager.attach(infra_id)
    settled(world, infra_id)
    world.manager.suspend(infra_id)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down")
    assert world.living() == []


# --- retrying and replacing ----------------------------------------------------------------------------------------


def test_a_permanent_error_waits_for_retry(make_world: MakeWorld) -> None:
    world = make_world()
    world.cloud.set(quota=0)
    world.define(resource={"type": "simulated", "image": "missing"})
    infra_id = world.manager.add(WEB)
    world.run(30)
    creates = world.cloud.calls()["create"]
    world.run(600)
    assert world.cloud.calls()["create"] == creates
    assert world.manager.retry(infra_id) == 1
    world.run(1)
    assert world.cloud.calls()["create"] == creates + 1
    assert world.manager.retry(infra_id, "db") == 1
    assert world.manager.retry(infra_id, of(world, infra_id, "db")[0]) == 1
    with pytest.raises(errors.NodeNotFoundException, match="no node and no instance 'nothing'"):
        world.manager.retry(infra_id, "nothing")


def test_replace_makes_another_first(make_world: MakeWorld) -> None:
    world = make_world(boot_time=2.0)
    infra_id = built(world)
    victim = of(world, infra_id, "app")[0]
    world.manager.replace(victim)
    assert lowest_ready(world, infra_id, "app") == (1, 2)
    assert of(world, infra_id, "app") != [victim]
    with pytest.raises(errors.NodeNotFoundException, match="no instance"):
        world.manager.replace(victim)


def test_an_update_does_not_take_a_replacement_back(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    victim = of(world, infra_id, "app")[0]
    world.manager.replace(victim)
    world.manager.update_infrastructure(infra_id, WEB)
    settled(world, infra_id)
    assert of(world, infra_id, "app") != [victim]


# --- the breaker ---------------------------------------------------------------------------------------------------


def many(world: World) -> list[str]:
    description = {"infra_name": "many", "nodes": [{"name": "a", "type": "t", "scaling": {"min": 3, "max": 3}}]}
    infra_ids = [world.manager.add(description) for _ in range(4)]
    for infra_id in infra_ids:
        settled(world, infra_id)
    world.run(20)
    return infra_ids


def kill(world: World, infra_ids: list[str], each: int) -> None:
    for infra_id in infra_ids:
        for one in world.living(infra_id)[:each]:
            world.cloud.kill(one.node_id, listed=True)


def test_many_failures_at_once_wait_for_a_second_look(make_world: MakeWorld) -> None:
    world = make_world()
    infra_ids = many(world)
    began = world.time
    kill(world, infra_ids, 2)
    world.run(25)
    held = [
        one["reason"]
        for infra_id in infra_ids
        for one in world.manager.report(infra_id)["a"]["instances"].values()
        if one["state"] == "failed"
    ]
    assert held
    assert all("healing_waits" in reason and "many of its instances failed at once" in reason for reason in held)
    made = len(world.cloud.instances(alive=False)) - 12
    assert made < 5  # in the place of those that were seen before there were many
    for infra_id in infra_ids:
        settled(world, infra_id)
    assert world.time - began > 30
    assert len(world.living()) == 12


def test_what_comes_back_before_the_second_look_is_not_replaced(make_world: MakeWorld) -> None:
    """The cloud said for a while that everything had failed; nothing had."""
    world = make_world()
    infra_ids = many(world)
    before = {one.node_id for one in world.living()}
    kill(world, infra_ids, 3)
    world.run(15)
    world.cloud._database.change("UPDATE instances SET killed_at = NULL", ())
    for infra_id in infra_ids:
        settled(world, infra_id)
    world.run(60)
    after = {one.node_id for one in world.living()}
    assert len(after) == 12
    assert len(before & after) >= 8


def test_a_few_failures_are_healed_at_once(make_world: MakeWorld) -> None:
    world = make_world()
    infra_ids = many(world)
    kill(world, infra_ids, 1)
    world.run(12)
    assert len(world.living()) == 12
    with world.system.store.read() as connection:
        assert all(schedule.get(connection, infra_id) for infra_id in infra_ids)


def test_requests_know_themselves_in_words() -> None:
    texts = [
        Request(node_name="a", kind=Kind.UP, count=2).text,
        Request(node_name="a", kind=Kind.DOWN, node_id="x").text,
        Request(node_name="a", kind=Kind.TO, count=0).text,
    ]
    assert texts == ["a +2", "a -1 (x)", "a to 0"]
