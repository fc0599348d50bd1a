"""The life of an infrastructure through the real core: submit, provision, heal, detach, attach, tear down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery import errors
from occo_celery.model.message import Claim
from occo_celery.plugins.resourcehandler import base
from occo_celery.tasks import scheduler
from occo_celery.uds import definitions, nodes, operations, schedule, tables
from tests.world import World

MakeWorld = Callable[..., World]

CHAIN: dict[str, Any] = {
    "infra_name": "chain",
    "nodes": [{"name": name, "type": "t"} for name in ("a", "b", "c", "d", "e")],
    "dependencies": [["b", "a"], ["c", "b"], ["d", "c"], ["e", "d"]],
}
PAIR: dict[str, Any] = {
    "infra_name": "pair",
    "nodes": [{"name": "a", "type": "t", "scaling": {"min": 2, "max": 3}}, {"name": "b", "type": "t"}],
    "dependencies": [["b", "a"]],
}


def built(world: World, description: dict[str, Any] = PAIR) -> str:
    infra_id = world.manager.add(description)
    world.run_until(lambda: ready(world, infra_id))
    return infra_id


def ready(world: World, infra_id: str) -> bool:
    return (
        all(state == "ready" for state in world.states(infra_id))
        and world.manager.list()[0].ready > 0
        and ("infraready" in happened(world, infra_id))
    )


def happened(world: World, infra_id: str) -> list[str]:
    return [event.name for event in world.manager.events(infra_id)]


def test_a_whole_life(make_world: MakeWorld) -> None:
    world = make_world(boot_time=1.0)
    infra_id = built(world)
    assert world.states(infra_id) == ["ready"] * 3
    assert len(world.living()) == 3
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down")
    assert world.living() == []
    assert happened(world, infra_id) == [
        *("infrastart", "nodecreating", "nodecreating", "nodecreated", "nodecreated", "nodecreating", "nodecreated"),
        *("infraready", "infradrop", "nodedropping", "nodedropped"),
        *("nodedropping", "nodedropping", "nodedropped", "nodedropped", "infradropped"),
    ]


def test_dependents_are_dropped_before_their_dependees(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world, CHAIN)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down")
    dropped = [event.data["node"] for event in world.manager.events(infra_id) if event.name == "nodedropped"]
    assert dropped == ["e", "d", "c", "b", "a"]


def test_a_chain_of_five_needs_no_interval_to_pass(make_world: MakeWorld) -> None:
    """Every instruction that ends wakes the next pass: no time passes at all, so beat never sends one."""
    world = make_world()
    infra_id = world.manager.add(CHAIN)
    for _ in range(40):
        world.deliver()
    assert world.states(infra_id) == ["ready"] * 4 + ["pending"] or world.states(infra_id) == ["ready"] * 5
    assert len(world.living()) == 5


def test_a_killed_instance_is_replaced(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    victim = world.living()[0].node_id
    world.cloud.kill(victim)
    world.run_until(lambda: len(world.living()) == 3 and ready(world, infra_id), seconds=60)
    assert victim not in {one.node_id for one in world.living()}


def test_a_silent_cloud_leads_to_unknown_and_to_nothing_else(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = {one.node_id for one in world.living()}
    world.cloud.set(silent=True)
    world.run(120)
    assert world.states(infra_id) == ["unknown"] * 3
    world.cloud.set(silent=False)
    world.run_until(lambda: ready(world, infra_id), seconds=120)
    assert {one.node_id for one in world.living()} == before
    assert "nodefailed" not in happened(world, infra_id)


def test_a_steady_state_writes_nothing_to_nodes(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)

    def versions() -> list[int]:
        with world.system.store.read() as connection:
            return [node.version for node in nodes.of(connection, infra_id)]

    before, passes = versions(), world.manager.get(infra_id).passes
    world.run(60)
    assert versions() == before
    assert world.manager.get(infra_id).passes >= passes + 5


def test_what_a_row_holds_against_an_instance_is_looked_into_though_all_is_said_to_be_ready(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    infra_id = built(world)
    node_id = world.living()[0].node_id
    with world.system.store.write() as connection:
        row = nodes.get(connection, node_id)
        assert row is not None
        assert nodes.observed(connection, node_id, row.version, status="unknown")
    world.run(30)
    assert world.states(infra_id) == ["ready"] * 3


def test_failures_of_one_node_do_not_stop_the_others(make_world: MakeWorld) -> None:
    """``broken`` asks for an image that its cloud does not have: that waits for a change and says so."""
    world = make_world()
    world.define(resource={"type": "simulated", "image": "missing"})
    with_good(world)
    infra_id = world.manager.add(
        {"infra_name": "x", "nodes": [{"name": "broken", "type": "t"}, {"name": "good", "type": "good"}]}
    )
    world.run(20)
    assert world.states(infra_id) == ["pending", "ready"]
    report = world.manager.report(infra_id)
    (reason,) = [one["reason"] for one in report["broken"]["instances"].values()]
    assert "missing" in reason
    world.define()
    world.run(20)
    assert world.states(infra_id) == ["ready", "ready"], "a changed definition is a new chance"


def with_good(world: World) -> None:
    with world.system.store.write() as connection:
        implementation = {"resource": {"type": "simulated"}, "health_check": {"ping": False}}
        definitions.replace(connection, {"good": [implementation]}, now=world.now())


def test_a_cloud_that_fails_for_a_while_is_tried_again(make_world: MakeWorld) -> None:
    world = make_world(failure_rate=0.7, timeout_rate=0.3)
    infra_id = world.manager.add(PAIR)
    world.run(60)
    world.cloud.set(failure_rate=0.0, timeout_rate=0.0)
    world.run_until(lambda: ready(world, infra_id), seconds=400)
    assert len(world.living()) == 3


def test_detach_stops_everything_and_attach_goes_on(make_world: MakeWorld) -> None:
    world = make_world(boot_time=5.0)
    infra_id = world.manager.add(CHAIN)
    world.run(1)
    world.manager.detach(infra_id)
    world.run(30)
    made = len(world.living())
    assert made <= 1, "only what had begun"
    with world.system.store.read() as connection:
        assert operations.of(connection, infra_id) == []
        assert schedule.get(connection, infra_id) is None
    world.cloud.kill(world.living()[0].node_id)
    world.run(60)
    assert world.living() == [], "nobody heals what is not managed"
    world.manager.attach(infra_id)
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 5)
    assert len(world.living()) == 5


def test_an_intent_that_was_sent_late_does_nothing_after_detach(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = world.manager.add(PAIR)
    world.deliver()  # the pass; its instructions are on their way
    late = list(world.messages)
    world.messages.clear()
    world.manager.detach(infra_id)
    for message in late:
        message(world.system)
    assert world.living() == []
    assert world.manager.report(infra_id)["a"]["instances"] == {}


def test_every_message_doubled_makes_nothing_twice(make_world: MakeWorld) -> None:
    world = make_world(boot_time=0.5)
    infra_id = world.manager.add(PAIR)
    for _ in range(400):
        world.time += 0.1
        world.messages[:] = [message for message in world.messages for _ in range(2)]
        world.deliver()
    world.run_until(lambda: ready(world, infra_id), seconds=60)
    assert len(list(world.cloud.instances(alive=False))) == 3, "not even one that was dropped again"


def test_every_message_lost_is_sent_again_by_beat(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = world.manager.add(PAIR)
    world.messages.clear()
    for _ in range(2000):
        world.time += 0.25
        scheduler.Due(world.system).publish()
        if world.rng.random() < 0.5:
            world.messages.clear()
        world.deliver()
        if ready(world, infra_id):
            break
    assert world.states(infra_id) == ["ready"] * 3
    assert len(list(world.cloud.instances(alive=False))) == 3


def test_the_first_message_of_a_beat_waits_for_no_more_than_it_carries(make_world: MakeWorld) -> None:
    """Everything is due when no beat was there for a while."""
    world = make_world()
    for _ in range(7):
        built(world, {"infra_name": "x", "nodes": [{"name": "a", "type": "t"}]})
    world.time += 3600.0
    system = world.system
    system.settings = replace(system.settings, enactor=replace(system.settings.enactor, batch=2))
    carried, claimed = [], []

    def passes(claim: Claim) -> None:
        carried.append(len(claim.infra_ids))
        with system.store.read() as connection:
            tokens = connection.execute(sa.select(tables.schedule.c.claim_token)).scalars().all()
        claimed.append(sum(token is not None for token in tokens))

    world.passes = passes  # type: ignore[method-assign]
    assert scheduler.Due(system).publish() == 7
    assert claimed[:2] == [2, 6]
    assert sorted(carried) == [1, 2, 2, 2]


def test_a_teardown_is_no_instruction(make_world: MakeWorld) -> None:
    """Its operation is the chain's alone, whatever message names it."""
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    world.manager.tear_down(infra_id)
    world.messages.clear()
    with world.system.store.read() as connection:
        before = operations.get(connection, infra_id)
    world.time += 1.0
    world.system.infraprocessor.perform([infra_id])
    with world.system.store.read() as connection:
        assert operations.get(connection, infra_id) == before


@pytest.mark.parametrize("kind", ["simulated", "simulated_no_tokens"])
def test_a_call_that_timed_out_after_it_was_carried_out_leaves_one_instance(make_world: MakeWorld, kind: str) -> None:
    world = make_world(kind=kind, timeout_rate=1.0, tokens=kind == "simulated")
    infra_id = world.manager.add({"infra_name": "x", "nodes": [{"name": "a", "type": "t"}]})
    world.run(20)
    world.cloud.set(timeout_rate=0.0, tokens=kind == "simulated")
    world.run_until(lambda: ready(world, infra_id), seconds=400)
    world.run(60)
    assert len(world.living()) == 1


def test_a_stray_with_our_tag_is_dropped(make_world: MakeWorld) -> None:
    world = make_world(tokens=False)
    infra_id = built(world, {"infra_name": "x", "nodes": [{"name": "a", "type": "t"}]})
    (one,) = world.living()
    handler = world.system.clouds.handler(one_account(world), {"type": "simulated"})
    creation = base.Creation(node_id=one.node_id, infra_id=infra_id, node_name="a", section={"type": "simulated"})
    handler.create(creation)
    assert len(world.living()) == 2
    world.run_until(lambda: len(world.living()) == 1, seconds=60)
    assert world.living()[0].instance_id == one.instance_id, "the recorded one stays"


def one_account(world: World) -> str:
    return world.system.clouds.account({"type": "simulated"})


# --- what is asked wrongly changes nothing ---------------------------------------------------------------------


def test_attach_twice(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    with pytest.raises(errors.InfrastructureIDTakenException, match="already being provisioned"):
        world.manager.attach(infra_id)


def test_detach_twice(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    with pytest.raises(errors.InfrastructureIDNotFoundException, match="not being provisioned"):
        world.manager.detach(infra_id)


def test_tear_down_while_attached(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    with pytest.raises(ValueError, match="detach it before"):
        world.manager.tear_down(infra_id)
    assert world.states(infra_id) == ["ready"] * 3


def test_unknown_infrastructure(make_world: MakeWorld) -> None:
    world = make_world()
    for act in (world.manager.attach, world.manager.tear_down, world.manager.report, world.manager.events):
        with pytest.raises(errors.InfrastructureIDNotFoundException, match="nobody"):
            act("nobody")
    for act in (world.manager.detach, world.manager.get):
        with pytest.raises(errors.InfrastructureIDNotFoundException):
            act("nobody")


def test_a_wrong_description_stores_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    with pytest.raises(errors.SchemaError):
        world.manager.add({"infra_name": "x", "nodes": [{"name": "a", "type": "no-such-type"}]})
    assert world.manager.list() == []


def test_attach_of_what_is_being_torn_down(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    world.manager.tear_down(infra_id)
    with pytest.raises(errors.InfrastructureIDNotFoundException, match="being torn down"):
        world.manager.attach(infra_id)
