"""The sweep of whole accounts that goes on by itself: what nobody knows is seen twice, then dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery import errors
from occo_celery.plugins.resourcehandler import base
from occo_celery.uds import accounts, migrate, nodes, operations, tables
from occo_celery.uds.store import Store
from tests import older
from tests.world import Death, World

ONE: dict[str, Any] = {"infra_name": "one", "nodes": [{"name": "a", "type": "t"}]}
#: Of the simulated cloud, at least sweep.LEAST_GRACE.
GRACE = 5.0


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


def ready(world: World) -> str:
    infra_id = world.manager.add(ONE)
    world.run_until(lambda: world.states(infra_id) == ["ready"])
    return infra_id


def torn_down(world: World) -> str:
    infra_id = ready(world)
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down")
    return infra_id


def make(world: World, node_id: str, infra_id: str) -> base.Seen:
    """An instance behind our back."""
    section = {"type": "simulated"}
    handler = world.system.clouds.handler(world.system.clouds.account(section), section)
    return handler.create(base.Creation(node_id=node_id, infra_id=infra_id, node_name="a", section=section))


def account(world: World) -> accounts.Account:
    with world.system.store.read() as connection:
        (found,) = accounts.known(connection)
    return found


def sweep_now(world: World) -> None:
    with world.system.store.write() as connection:
        connection.execute(tables.accounts.update().values(sweep_due=world.now()))


def alive(world: World) -> set[str]:
    return {one.instance_id for one in world.living()}


def kinds(world: World) -> list[str]:
    with world.system.store.read() as connection:
        return list(connection.execute(sa.select(tables.operations.c.kind)).scalars())


@pytest.mark.parametrize("state", [ready, torn_down])
def test_an_orphan_is_seen_twice_and_dropped(world: World, state: Callable[[World], str]) -> None:
    infra_id = state(world)
    kept = alive(world)
    made = make(world, "behind-our-back", infra_id)
    sweep_now(world)
    world.run(GRACE - 0.5)
    assert alive(world) == kept | {made.instance_id}, "once is not enough"
    assert len(account(world).suspects) == 1
    world.run(10.0)
    assert alive(world) == kept
    assert kinds(world) == []
    assert not account(world).suspects
    told = [one.data for one in world.manager.events(infra_id) if one.data.get("stray") == made.instance_id]
    assert told == [{"node_id": "behind-our-back", "node": "unknown", "stray": made.instance_id}]


def test_it_comes_by_itself_at_intervals(world: World) -> None:
    infra_id = torn_down(world)
    made = make(world, "late", infra_id)
    world.run(60.0, step=1.0)
    assert alive(world) == {made.instance_id}, "its time has not come"
    for _ in range(2):  # hours in a moment
        world.time = (account(world).sweep_due or 0.0) + 0.1
        world.run(1.0)
    world.run(10.0)
    assert alive(world) == set()
    due = account(world).sweep_due
    assert due is not None
    assert due - world.now() > 21600.0 - 60.0


def test_a_sweep_that_comes_twice_is_still_one_look(world: World) -> None:
    infra_id = ready(world)
    made = make(world, "behind-our-back", infra_id)
    for _ in range(3):
        world.system.sweeper.sweep(account(world).account)
    assert made.instance_id in alive(world)
    assert kinds(world) == []
    world.time += GRACE
    for _ in range(3):
        world.system.sweeper.sweep(account(world).account)
    assert kinds(world) == ["stray"]


def test_what_is_explained_meanwhile_is_left_alone(world: World) -> None:
    infra_id = ready(world)
    made = make(world, "late", infra_id)
    world.system.sweeper.sweep(account(world).account)
    assert len(account(world).suspects) == 1
    with world.system.store.write() as connection:
        nodes.insert(connection, infra_id, {"late": "a"}, now=world.now())
    world.time += GRACE
    world.system.sweeper.sweep(account(world).account)
    assert not account(world).suspects
    assert kinds(world) == []
    assert made.instance_id in alive(world)


def test_what_is_made_while_the_account_answers_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL is read after the list: read before it, every creation in between would look like an orphan."""
    infra_id_of_one = ready(world)
    name = account_name(world)
    handler = world.system.clouds.handler(name, {"type": "simulated"})

    class Busy:
        def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
            with world.system.store.write() as connection:
                nodes.insert(connection, infra_id_of_one, {"new": "a"}, now=world.now())
            section = {"type": "simulated"}
            handler.create(base.Creation(node_id="new", infra_id=infra_id_of_one, node_name="a", section=section))
            found: tuple[base.Seen, ...] = handler.sweep(infra_id, timeout)
            return found

    monkeypatch.setattr(world.system.clouds, "handler", lambda *_: Busy())
    look = world.system.sweeper.look(name, {"resource": {"type": "simulated"}})
    assert (look.orphans, look.known) == ((), 2)


def test_what_is_somebody_elses_is_never_touched(world: World) -> None:
    ready(world)
    made = make(world, "theirs", "an-infrastructure-of-another-installation")
    for _ in range(3):
        sweep_now(world)
        world.run(10.0)
    assert made.instance_id in alive(world)
    assert not account(world).suspects


def test_an_account_that_does_not_answer_is_tried_again(world: World) -> None:
    infra_id = torn_down(world)
    made = make(world, "late", infra_id)
    world.system.sweeper.sweep(account(world).account)
    before = account(world).suspects
    world.cloud.set(silent=True)
    sweep_now(world)
    world.run(1.0)
    after = account(world)
    assert after.suspects == before, "silence is no answer"
    assert after.sweep_due is not None
    assert 500.0 < after.sweep_due - world.now() <= 600.0
    world.cloud.set(silent=False)
    sweep_now(world)
    world.run(10.0)
    assert made.instance_id not in alive(world)


def test_a_drop_that_fails_is_tried_again(world: World) -> None:
    infra_id = torn_down(world)
    make(world, "late", infra_id)
    world.system.sweeper.sweep(account(world).account)
    world.time += GRACE
    world.system.sweeper.sweep(account(world).account)
    world.cloud.set(failure_rate=1.0)
    world.run(30.0)
    assert kinds(world) == ["stray"]
    world.cloud.set(failure_rate=0.0)
    world.run_until(lambda: not alive(world) and not kinds(world))


def test_two_accounts_of_one_cloud_do_not_drop_each_others(make_world: Callable[..., World]) -> None:
    """Both names lead to the same instances; what is on the books is, under whichever."""
    world = make_world()
    ready(world)
    kept = alive(world)
    section = {"type": "simulated_no_tokens"}
    with world.system.store.write() as connection:
        name = world.system.clouds.account(section)
        accounts.use(connection, name, {"resource": section}, sweep_due=world.now())
    for _ in range(3):
        sweep_now(world)
        world.run(10.0)
    assert alive(world) == kept


def test_a_worker_may_die_anywhere_in_a_sweep(make_world: Callable[..., World]) -> None:
    world = make_world()
    infra_id = ready(world)
    kept = alive(world)
    for point in range(40):
        made = make(world, f"orphan-{point}", infra_id)
        world.reborn(dies_at=point)
        died = False
        try:
            for _ in range(2):
                world.system.sweeper.sweep(account_name(world))
                world.time += GRACE
            world.deliver()
        except Death:
            died = True
        world.reborn()
        sweep_now(world)
        world.run_until(lambda made=made: made.instance_id not in alive(world), 700.0, 0.5)  # type: ignore[misc]
        assert alive(world) == kept
        if not died:
            break
    else:
        raise AssertionError("the sweep has more points than were tried")
    assert point >= 5


def account_name(world: World) -> str:
    return world.system.clouds.account({"type": "simulated"})


def test_two_beats_share_the_sweeps(world: World) -> None:
    ready(world)
    with world.system.store.write() as connection:
        connection.execute(tables.accounts.update().values(sweep_due=world.now()))
        first = accounts.claim_sweeps(connection, now=world.now(), limit=10, again=300.0)
        assert accounts.claim_sweeps(connection, now=world.now(), limit=10, again=300.0) == []
        assert len(first) == 1
        assert accounts.claim_sweeps(connection, now=world.now() + 300.0, limit=10, again=300.0) == first


def test_an_account_is_remembered_also_when_the_claim_was_rolled_back(world: World) -> None:
    """Each process keeps in mind which accounts are on the books: only those that it has seen there."""
    infra_id = world.manager.add(ONE)
    world.deliver(1)
    world.messages.clear()

    def take(connection: sa.Connection) -> None:
        targets = [one.target for one in operations.of(connection, infra_id)]
        assert len(world.system.infraprocessor._taker.take(connection, targets, world.now()).jobs) == 1

    def rolled_back() -> None:
        with world.system.store.write() as connection:
            take(connection)
            raise errors.OccoError("rolled back")

    with pytest.raises(errors.OccoError):
        rolled_back()
    with world.system.store.write() as connection:
        take(connection)
    assert account(world).implementation is not None


def test_accounts_in_use_before_the_upgrade_are_swept_at_once(store: Store) -> None:
    """The migration finds them; rows that were there for another reason are filled in."""
    from alembic import command

    with store.write() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        connection.execute(tables.accounts.delete())
        connection.execute(
            tables.infrastructures.insert().values(
                infra_id="i", name="i", phase="submitted", generation=1, targets={}, created_at=0.0
            )
        )
        nodes.insert(connection, "i", {"n1": "a"}, now=0.0)
        connection.execute(tables.nodes.update().values(account="new", implementation={"resource": {"type": "x"}}))
        connection.execute(
            tables.nodes_archive.insert().values(
                node_id="n0", infra_id="i", node_name="a", account="old", addresses=[], created_at=0.0,
                implementation={"resource": {"type": "y"}}, archived_at=0.0, why="",
            )
        )  # fmt: skip
        connection.execute(tables.accounts.insert().values(account="old", misses=2))
        for column in ("implementation", "sweep_due", "suspects"):
            connection.execute(sa.text(f"ALTER TABLE accounts DROP COLUMN {column}"))
        connection.execute(sa.text("CREATE INDEX ix_infrastructures_pass_token ON infrastructures (pass_token)"))
        older.go_back(connection, "0002")
        command.upgrade(config, "head")
        found = {one.account: one for one in accounts.known(connection)}
    assert {name: one.implementation for name, one in found.items()} == {
        "old": {"resource": {"type": "y"}},
        "new": {"resource": {"type": "x"}},
    }
    assert {one.sweep_due for one in found.values()} == {0.0}
    assert found["old"].misses == 2


def test_what_is_being_dropped_is_no_orphan_any_more(world: World) -> None:
    infra_id = ready(world)
    make(world, "behind-our-back", infra_id)
    name = account_name(world)
    section = {"resource": {"type": "simulated"}}
    orphans = world.system.sweeper.look(name, section).orphans
    assert len(orphans) == 1
    assert len(world.system.sweeper._intend(orphans, section)) == 1
    assert world.system.sweeper.look(name, section).orphans == ()
    # Another worker, that had looked before this one wrote.
    assert world.system.sweeper._intend(orphans, section) == []
    assert kinds(world) == ["stray"]
