"""What the next pass would do, told without doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.model import instruction
from occo_celery.uds import accounts, nodes, tables
from tests.integration.core.test_changes import built, of, web
from tests.world import World

MakeWorld = Callable[..., World]


def words(delta: instruction.Delta) -> list[str]:
    return [
        " ".join((type(one).__name__, getattr(one, "node_name", ""), getattr(one, "why", ""))).strip()
        for one in delta.instructions
    ]


def everything(world: World) -> list[Any]:
    """All that is stored."""
    with world.system.store.read() as connection:
        return [connection.execute(table.select()).fetchall() for table in tables.metadata.sorted_tables]


def test_of_what_was_only_submitted(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = world.manager.submit_infrastructure(web())
    before = everything(world)
    delta = world.manager.plan(infra_id)
    assert words(delta) == ["CreateInfrastructure", "CreateNode db"]
    assert {name: reason.text() for name, reason in delta.waiting.items()} == {"app": "waiting_for: db, 0 of 1 ready"}
    assert everything(world) == before


def test_of_what_is_as_it_should_be(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = everything(world)
    delta = world.manager.plan(infra_id)
    assert (delta.instructions, delta.ready) == ((), True)
    assert everything(world) == before


def test_it_looks_at_the_cloud(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    (victim,) = (one for one in world.living(infra_id) if one.node_name == "app")
    world.cloud.kill(victim.node_id, listed=True)
    before = everything(world)
    drop, create = words(world.manager.plan(infra_id))
    assert drop.startswith("DropNode app ")
    assert create == "CreateNode app"
    assert everything(world) == before


def test_requests_that_wait_are_counted_in(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.manager.detach(infra_id)
    world.manager.scale_up(infra_id, "app", 2)
    world.manager.process_strategy = "parallel"
    assert words(world.manager.plan(infra_id)) == ["CreateNode app"] * 2


def test_of_an_update(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    before = everything(world)
    assert world.manager.plan(infra_id, web()).instructions == ()
    newer = web(variables={"release": "2"})
    assert words(world.manager.plan(infra_id, newer)) == ["CreateNode db", "CreateNode app"]
    assert words(world.manager.plan(infra_id, newer, update="ignore")) == []
    recreated = world.manager.plan(infra_id, newer, update="recreate")
    assert words(recreated) == ["DropNode db recreated", "DropNode app recreated", "CreateNode db"]
    fewer = web(nodes=web()["nodes"][:1], dependencies=[])
    (drop,) = world.manager.plan(infra_id, fewer).instructions
    assert isinstance(drop, instruction.DropNode)
    assert (drop.node_id, drop.why) == (of(world, infra_id, "app")[0], "removed")
    assert everything(world) == before


def test_what_cannot_be_planned_is_said(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    with pytest.raises(errors.UpdateError, match="keeps its infra_name"):
        world.manager.plan(infra_id, web(infra_name="other"))
    with pytest.raises(ValueError, match="rolling, recreate, ignore"):
        world.manager.plan(infra_id, web(), update="sideways")
    with pytest.raises(errors.InfrastructureIDNotFoundException):
        world.manager.plan("nothing")
    world.manager.detach(infra_id)
    world.manager.tear_down(infra_id)
    with pytest.raises(errors.InfrastructureIDNotFoundException, match="torn down"):
        world.manager.plan(infra_id)


def test_a_silent_account_is_no_loss(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    world.cloud.set(silent=True)
    assert world.manager.plan(infra_id).instructions == ()


def test_an_account_that_is_left_alone_is_not_asked(make_world: MakeWorld) -> None:
    world = make_world()
    infra_id = built(world)
    with world.system.store.write() as connection:
        (account,) = {one.account for one in nodes.of(connection, infra_id)}
        for _ in range(accounts.MISSES):
            accounts.missed(connection, str(account), reason="no answer", now=world.now())
    before = world.cloud.calls()["observe"]
    assert world.manager.plan(infra_id).instructions == ()
    assert world.cloud.calls()["observe"] == before
