"""Attributes that dependencies hand on from node to node, through the real core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery.uds import definitions
from tests.world import World

MakeWorld = Callable[..., World]


def implementation(**attributes: Any) -> dict[str, Any]:
    told = {"type": "basic", "attributes": attributes}
    return {"resource": {"type": "simulated"}, "contextualisation": told, "health_check": {"ping": False}}


def reading(text: str) -> dict[str, Any]:
    told = {"type": "cloudinit", "context_template": text}
    return {"resource": {"type": "simulated"}, "contextualisation": told, "health_check": {"ping": False}}


def define(world: World, **types: dict[str, Any]) -> None:
    with world.system.store.write() as connection:
        definitions.replace(connection, {name: [one] for name, one in types.items()}, now=world.now())


def pair(*mappings: Any, **variables: Any) -> dict[str, Any]:
    return {
        "infra_name": "pair",
        "variables": variables,
        "nodes": [{"name": "db", "type": "db"}, {"name": "app", "type": "app"}],
        "dependencies": [{"connection": ["app", "db"], "mappings": list(mappings)}],
    }


def told(world: World) -> list[str]:
    """The user data of all instances of `app`, as the cloud has them."""
    return [one.user_data for one in world.living() if one.user_data]


def test_an_attribute_arrives_rendered_where_it_was_made(make_world: MakeWorld) -> None:
    world = make_world(boot_time=1.0)
    define(
        world,
        db=implementation(schema="{{ name }}_{{ variables.colour }}", ports={"sql": 5432}),
        app=reading("{{ db_schema }} {{ db_ports.sql }} {{ db_address }}"),
    )
    mappings = [
        {"attributes": ["schema", "db_schema"], "synch": True},
        ["ports", "db_ports"],
        ["ip", "db_address"],
    ]
    infra_id = world.manager.add(pair(*mappings, colour="green"))
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 2)
    (db,) = world.manager.report(infra_id)["db"]["instances"].values()
    assert told(world) == [f"db_green 5432 {db['resource_address']}"]


def test_what_is_awaited_and_not_there_is_said(make_world: MakeWorld) -> None:
    world = make_world()
    define(world, db=implementation(), app=reading("{{ db_schema }}"))
    infra_id = world.manager.add(pair({"attributes": ["schema", "db_schema"], "synch": True}))
    world.run(30.0, step=1.0)
    assert world.states(infra_id) == ["ready"]
    assert world.manager.plan(infra_id).waiting["app"].text() == "waiting_for: db, attribute schema"


def test_what_is_not_awaited_and_not_there_fails_where_it_is_used(make_world: MakeWorld) -> None:
    world = make_world()
    define(world, db=implementation(), app=reading("{{ db_schema }}"))
    infra_id = world.manager.add(pair(["schema", "db_schema"]))
    world.run(30.0, step=1.0)
    assert "attribute 'schema' of node 'db': no running instance of it has that" in str(
        world.manager.report(infra_id)["app"]
    )


def test_a_secret_is_not_handed_on_and_stored_nowhere(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCCO_SECRET_DB", "hunter2")
    world = make_world()
    define(world, db=implementation(password="{{ secret('db') }}"), app=reading("{{ word }}"))
    infra_id = world.manager.add(pair({"attributes": ["password", "word"], "synch": True}))
    world.run(30.0, step=1.0)
    assert "it is made from the secret 'db', which is stored nowhere" in str(world.manager.report(infra_id)["app"])
    with world.system.store.read() as connection:
        for table in sa.inspect(connection).get_table_names():
            assert "hunter2" not in str(connection.execute(sa.text(f'SELECT * FROM "{table}"')).all())


def test_an_attribute_that_goes_before_the_claim_is_awaited_again(make_world: MakeWorld) -> None:
    """Guard 3: between plan and claim the instance that had it may have been replaced by one that has it not."""
    world = make_world()
    define(world, db=implementation(schema="one"), app=reading("{{ db_schema }}"))
    infra_id = world.manager.add(pair({"attributes": ["schema", "db_schema"], "synch": True}))
    kept: list[Any] = []
    send = world.operations

    def without_app(some: Any) -> None:
        kept.extend(one for one in some if one.node_name == "app")
        send([one for one in some if one.node_name != "app"])

    world.operations = without_app  # type: ignore[method-assign]
    world.run_until(lambda: bool(kept), 60.0)
    (first,) = world.living()
    define(world, db=implementation(), app=reading("{{ db_schema }}"))
    world.cloud.kill(first.node_id)

    def replaced() -> bool:
        instances = world.manager.report(infra_id)["db"]["instances"]
        return first.node_id not in instances and [one["state"] for one in instances.values()] == ["ready"]

    world.run_until(replaced)
    world.operations = send  # type: ignore[method-assign]
    world.run(60.0, step=1.0)
    assert told(world) == []
    assert world.manager.plan(infra_id).waiting["app"].text() == "waiting_for: db, attribute schema"
