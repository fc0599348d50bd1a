"""The order in which PostgreSQL locks rows: whoever waits for an infrastructure holds none of its operations."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from occo_celery.tasks import scheduler
from occo_celery.uds import infrastructures, operations, tables
from occo_celery.uds.store import Store
from tests.world import World

pytestmark = [pytest.mark.postgresql, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]


def _last_look(world: World, infra_id: str) -> Callable[[], object]:
    """Of creations that were claimed."""
    world.deliver(1)
    with world.system.store.write() as connection:
        targets = [one.target for one in operations.of(connection, infra_id)]
        operations.claim(connection, targets, now=world.now(), until=world.now() + 30, token="t")

    def look() -> None:
        with world.system.store.write() as connection:
            assert operations.still_held(connection, targets, "t") == set(targets)

    return look


def _link(world: World, infra_id: str, stage: int) -> Callable[[], object]:
    """Of a teardown."""
    world.run(5)
    world.manager.detach(infra_id)
    world.manager.tear_down(infra_id)
    with world.system.store.write() as connection:
        operation = operations.get(connection, infra_id)
        assert operation is not None
        token = operation.token or ""
        operations.held(connection, infra_id, token, stage=stage)
    links = world.system.teardown
    return lambda: (links.drop_level if stage == 0 else links.finish)(infra_id, token, stage)


PREPARE: dict[str, Callable[[World, str], Callable[[], object]]] = {
    "the last look before a call": _last_look,
    "drop_level": lambda world, infra_id: _link(world, infra_id, 0),
    "finish": lambda world, infra_id: _link(world, infra_id, 2),
}


@pytest.mark.parametrize("who", PREPARE)
def test_infrastructures_come_first(make_world: Callable[..., World], other: Store, who: str) -> None:
    world = make_world()
    infra_id = world.manager.add({"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]})
    thread = threading.Thread(target=PREPARE[who](world, infra_id))
    table = tables.operations
    with other.write() as connection:
        infrastructures.lock(connection, infra_id)
        thread.start()
        while not world.waits_for_a_lock():
            assert thread.is_alive()
        held = sa.select(table).where(table.c.infra_id == infra_id).with_for_update(nowait=True)
        assert connection.execute(held).all()
    thread.join()


def test_beat_waits_for_no_infrastructure_when_it_has_an_operation_of_it(
    make_world: Callable[..., World], other: Store
) -> None:
    """It writes to that of a teardown twice, and PostgreSQL looks at foreign keys when a row is written again."""
    world = make_world()
    infra_id = world.manager.add({"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]})
    _link(world, infra_id, 0)
    with other.write() as connection:
        operation = operations.get(connection, infra_id)
        assert operation is not None
        operations.held(connection, infra_id, operation.token or "", due=0.0)
    with other.write() as connection:
        infrastructures.lock(connection, infra_id)
        assert scheduler.Due(world.system).publish() == 1
