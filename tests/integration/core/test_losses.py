"""What a failure of the database's host may take along: transactions whose commit did not wait for the disk.

They are lost before anybody else has seen them. That nothing of others rests on them is said in docs/decisions/0011.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery.uds.store import Store
from tests.world import World

PAIR: dict[str, Any] = {
    "infra_name": "pair",
    "nodes": [{"name": "a", "type": "t"}, {"name": "b", "type": "t"}],
    "dependencies": [["b", "a"]],
}


class Host:
    """Of a database: says which transactions may be lost, and loses the ``victim``-th of them."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, victim: int | None = None) -> None:
        self.spared, self.waiting = 0, 0
        self._victim, self._lost = victim, False
        self._write = store.write
        monkeypatch.setattr(store, "may_be_lost", self.may_be_lost)
        monkeypatch.setattr(store, "write", self.write)

    def may_be_lost(self, connection: sa.Connection) -> None:
        self._lost = self.spared == self._victim
        self.spared += 1

    @contextlib.contextmanager
    def write(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        spared = self.spared
        with self._write(alone=alone) as connection:
            yield connection
            if self._lost:
                connection.rollback()
                self._lost = False
        self.waiting += self.spared == spared


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.mark.parametrize("victim", range(4))
def test_nothing_is_lost_with_it(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, victim: int
) -> None:
    world = make_world(kind="simulated_no_tokens", tokens=False)  # a call that is repeated makes another instance
    host = Host(world.system.store, monkeypatch, victim)
    infra_id = world.manager.add(PAIR)
    world.run_until(lambda: world.states(infra_id) == ["ready", "ready"])
    world.run(60)
    assert host.spared > victim, "it was lost"
    assert world.states(infra_id) == ["ready", "ready"]
    assert len(world.cloud.instances(infra_id=infra_id, alive=False)) == 2, (
        "nothing was called for a claim that was lost"
    )
    world.manager.detach(infra_id)
    world.manager.tear_down(infra_id)
    world.run(120)
    assert world.living() == []


def created(world: World, monkeypatch: pytest.MonkeyPatch, *earlier: str) -> tuple[int, int]:
    """Of one create_node, after others: transactions that may be lost, and that may not."""
    for name in (*earlier, "one"):
        world.manager.add({"infra_name": name, "nodes": [{"name": "a", "type": "t"}]})
        world.deliver(1)
        host = Host(world.system.store, monkeypatch)
        world.deliver(1)
        world.messages.clear()
        monkeypatch.undo()
    assert len(world.living()) == len(earlier) + 1
    return host.spared, host.waiting


def test_the_last_look_before_a_call_waits_for_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does what has been made: a detach that saw it has returned."""
    assert created(world, monkeypatch, "before") == (1, 2)


def test_a_claim_waits_for_the_disk_where_it_puts_an_account_on_the_books(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert created(world, monkeypatch) == (0, 3)


def test_a_claim_waits_for_the_disk_where_a_config_manager_is_told_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would know an instance that nobody takes off it again."""
    world.define(config_management={"type": "dummy"})
    assert created(world, monkeypatch, "before") == (0, 3)


def test_drops_wait_for_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    infra_id = world.manager.add({"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]})
    world.run(5)
    world.manager.detach(infra_id)
    host = Host(world.system.store, monkeypatch)
    world.manager.tear_down(infra_id)
    world.run(60)
    assert world.living() == []
    assert host.spared == 0


def test_what_a_pass_records_waits_for_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.manager.add({"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]})
    host = Host(world.system.store, monkeypatch)
    world.deliver(1)
    assert (host.spared, host.waiting) == (1, 1)
