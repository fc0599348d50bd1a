"""Crash safety of the shell: a process dies at every point between two ports, and the next ones repair it.

Each test goes through a stretch of life once to count its points, then once more for each point, dying there. What
must hold afterwards: exactly the instances that are wanted, each made once (with idempotency tokens), and none after
the teardown.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.uds import infrastructures, migrate, nodes, operations
from occo_celery.uds.store import Store
from tests.world import Death, World

PAIR: dict[str, Any] = {
    "infra_name": "pair",
    "nodes": [{"name": "a", "type": "t"}, {"name": "b", "type": "t"}],
    "dependencies": [["b", "a"]],
}


#: The longest of these are cut into pieces, for the cores to share.
PARTS = 4


class Lives:
    """The same world again and again, on a fresh database each time: its file is emptied in between."""

    def __init__(self, folder: pathlib.Path, **options: Any) -> None:
        self._folder, self._options, self._count = folder, options, 0
        self._empty, self._used = folder / "empty.sqlite", folder / "uds.sqlite"
        self._last: World | None = None
        store = Store(f"sqlite:///{self._empty}")
        migrate.upgrade(store)
        store.close()

    def world(self) -> World:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        if self._last is not None:
            self._last.close()
        for rest in ("-wal", "-shm"):
            pathlib.Path(f"{self._used}{rest}").unlink(missing_ok=True)
        shutil.copy(self._empty, self._used)
        self._last = World(f"sqlite:///{self._used}", folder, **self._options)
        self._last.define()
        return self._last


def survive(
    lives: Lives,
    prepare: Callable[[World], Any],
    act: Callable[[World, Any], None],
    check: Callable[[World, Any], None],
    part: int = 0,
    of: int = 1,
) -> int:
    """Die at every point of ``act`` once (or at every ``of``-th), go on with new processes, check; returns how many
    points there were."""
    points = _count(lives, prepare, act)
    for point in range(part, points, of):
        world = lives.world()
        given = prepare(world)
        world.reborn(dies_at=point)
        try:
            act(world, given)
        except (Death, errors.OccoError):
            pass
        died = world.life.points[-1]
        world.reborn()
        try:
            check(world, given)
        except BaseException as problem:
            problem.add_note(f"died at point {point} of {points}: {died}")
            raise
        world.close()
    return points


def _count(lives: Lives, prepare: Callable[[World], Any], act: Callable[[World, Any], None]) -> int:
    world = lives.world()
    given = prepare(world)
    world.reborn()
    act(world, given)
    world.close()
    return len(world.life.points)


def submitted(world: World) -> str:
    return world.manager.submit_infrastructure(PAIR)


def provision(world: World, infra_id: str) -> None:
    world.manager.attach(infra_id)
    world.run_until(lambda: world.states(infra_id) == ["ready", "ready"], seconds=60)


def provisioned(world: World) -> str:
    infra_id = submitted(world)
    provision(world, infra_id)
    world.run(1)
    return infra_id


def attached_or_not_at_all(world: World, infra_id: str) -> None:
    """An attach that died is either done or not; in that case the user asks again."""
    try:
        world.manager.attach(infra_id)
    except errors.InfrastructureIDTakenException:
        pass


def complete_and_nothing_else(world: World, infra_id: str) -> None:
    attached_or_not_at_all(world, infra_id)
    world.run_until(
        lambda: len(world.living()) == 2 and world.states(infra_id) == ["ready", "ready"], seconds=300, step=1.0
    )
    world.run(15, step=1.0)
    assert len(world.living()) == 2
    with world.system.store.read() as connection:
        assert {node.instance_id for node in nodes.of(connection, infra_id)} == {
            one.instance_id for one in world.living()
        }
        assert operations.of(connection, infra_id) == []


def made_once(world: World, infra_id: str) -> None:
    complete_and_nothing_else(world, infra_id)
    everything = [one.node_id for one in world.cloud.instances(alive=False)]
    assert len(everything) == len(set(everything)) == 2, "no node_id twice, not even for a moment"


def test_provisioning(tmp_path: pathlib.Path) -> None:
    lives = Lives(tmp_path, boot_time=0.3)
    points = survive(lives, submitted, provision, made_once)
    assert points > 30


def test_provisioning_without_idempotency_tokens(tmp_path: pathlib.Path) -> None:
    lives = Lives(tmp_path, kind="simulated_no_tokens", tokens=False)
    survive(lives, submitted, provision, complete_and_nothing_else)


def kill_one(world: World) -> str:
    infra_id = provisioned(world)
    world.cloud.kill(world.living()[0].node_id)
    return infra_id


def heal(world: World, infra_id: str) -> None:
    world.run_until(lambda: len(world.living()) == 2 and world.states(infra_id) == ["ready", "ready"], seconds=60)
    world.run(5)


@pytest.mark.parametrize("part", range(PARTS))
def test_healing(tmp_path: pathlib.Path, part: int) -> None:
    survive(Lives(tmp_path), kill_one, heal, complete_and_nothing_else, part, PARTS)


def detached(world: World) -> str:
    infra_id = provisioned(world)
    world.manager.detach(infra_id)
    return infra_id


def tear_down(world: World, infra_id: str) -> None:
    handle = world.manager.tear_down(infra_id)
    world.run_until(lambda: handle.state == "torn_down", seconds=60)


def torn_down_or_not_at_all(world: World, infra_id: str) -> None:
    if _phase(world, infra_id) == "submitted":
        world.manager.tear_down(infra_id)


def nothing_left(world: World, infra_id: str) -> None:
    torn_down_or_not_at_all(world, infra_id)
    world.run_until(lambda: _phase(world, infra_id) == "torn_down", seconds=600, step=4.0)
    assert world.living() == []
    with world.system.store.read() as connection:
        assert nodes.of(connection, infra_id) == []
        assert operations.of(connection, infra_id) == []


def _phase(world: World, infra_id: str) -> str:
    with world.system.store.read() as connection:
        return infrastructures.get(connection, infra_id).phase.value


@pytest.mark.parametrize("part", range(PARTS))
def test_tearing_down(tmp_path: pathlib.Path, part: int) -> None:
    survive(Lives(tmp_path), detached, tear_down, nothing_left, part, PARTS)


def half_built(world: World) -> str:
    infra_id = submitted(world)
    world.manager.attach(infra_id)
    world.deliver()  # the first pass: an intent is recorded and sent
    return infra_id


def create_and_detach(world: World, infra_id: str) -> None:
    world.deliver()
    world.manager.stop_provisioning(infra_id, wait_timeout=0)


def nothing_starts_any_more(world: World, infra_id: str) -> None:
    """Detached (by the user's second try, if the first one died): what had begun is finished or undone."""
    try:
        world.manager.stop_provisioning(infra_id, wait_timeout=0)
    except (errors.InfrastructureIDNotFoundException, errors.StillRunning):
        pass
    world.run(300, step=1.0)
    with world.system.store.read() as connection:
        assert operations.of(connection, infra_id) == []
        known = {node.instance_id for node in nodes.of(connection, infra_id)}
    assert {one.instance_id for one in world.living()} == known
    made = len(list(world.cloud.instances(alive=False)))
    world.run(60, step=1.0)
    assert len(list(world.cloud.instances(alive=False))) == made


def test_creating_and_detaching(tmp_path: pathlib.Path) -> None:
    survive(Lives(tmp_path), half_built, create_and_detach, nothing_starts_any_more)


@pytest.mark.parametrize("kind", ["simulated", "simulated_no_tokens"])
def test_a_call_that_comes_back_after_its_lease_drops_what_it_made(tmp_path: pathlib.Path, kind: str) -> None:
    """A creator stalls in its call until its row has been dropped and archived, then its call is carried out."""
    world = Lives(tmp_path, kind=kind, tokens=kind == "simulated").world()
    infra_id = submitted(world)
    world.manager.attach(infra_id)
    world.deliver()
    with world.system.store.write() as connection:
        (node,) = nodes.of(connection, infra_id)
        job = world.system.infraprocessor._taker.take(connection, [node.node_id], world.now()).jobs
    try:
        world.manager.stop_provisioning(infra_id, wait_timeout=0)
    except errors.StillRunning:
        pass
    world.run(300, step=1.0)
    with world.system.store.read() as connection:
        assert nodes.of(connection, infra_id) == [], "given up and archived meanwhile"
    list(world.system.infraprocessor._do(job))
    assert world.living() == []
    world.close()
