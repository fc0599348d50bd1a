"""Never two processes of one node: races, and deaths of workers and launchers between any two steps of create."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import random
import signal
import threading
import time

import psutil
import pytest

from occo_celery import errors
from occo_celery.model import status
from tests.unit.process import world as worlds

LAUNCHER_STEPS = ("read", "forked", "unrecorded", "recorded")


def assert_one(world: worlds.World, node_id: str = "n1") -> None:
    """Create, by a new worker, ends with the one process that the node has ever had."""
    handler = world.handler()
    seen = handler.create(world.creation(node_id))
    assert seen.state is status.NodeStatus.READY
    worlds.wait_until(lambda: world.starts()[node_id], what="the start of the command")
    assert [f"{node_id}:{one.pid}:{one.start}" for one in world.running(node_id)] == [seen.instance_id]
    assert [one.instance_id for one in handler.observe([node_id], 5.0)[node_id]] == [seen.instance_id]
    assert world.starts()[node_id] == 1


def test_a_race_of_processes_makes_one(world: worlds.World) -> None:
    gate, opener = os.pipe()

    def create() -> None:
        os.close(opener)
        os.read(gate, 1)
        world.handler().create(world.creation())

    children = [worlds.in_child(create) for _ in range(8)]
    os.close(gate)
    os.close(opener)
    assert [worlds.exit_code(child) for child in children] == [0] * 8
    assert_one(world)


def test_a_race_of_threads_makes_one(world: worlds.World) -> None:
    handler, barrier = world.handler(), threading.Barrier(8)

    def create(_: int) -> str:
        barrier.wait(10.0)
        return handler.create(world.creation()).instance_id

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1
    assert_one(world)


@pytest.mark.parametrize("step", ["leased", "prepared", "started"])
def test_a_worker_that_dies_at_a_step(world: worlds.World, step: str) -> None:
    handler = world.handler()
    handler._step = lambda name: worlds.die() if name == step else None
    child = worlds.in_child(lambda: handler.create(world.creation()))
    assert worlds.exit_code(child) == -signal.SIGKILL
    assert_one(world)


@pytest.mark.parametrize("step", LAUNCHER_STEPS[:3])
def test_a_launcher_that_dies_before_it_has_recorded(world: worlds.World, step: str) -> None:
    handler = world.handler()
    handler._launcher.script = world.launcher(step, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(errors.TransientError, match="launcher ended"):
        handler.create(world.creation())
    assert handler.observe(["n1"], 5.0) == {"n1": ()}
    assert_one(world)


def test_a_launcher_that_dies_after_it_has_recorded_has_made_a_node_that_failed(world: worlds.World) -> None:
    handler = world.handler()
    handler._launcher.script = world.launcher("recorded", "os.kill(os.getpid(), signal.SIGKILL)")
    made = handler.create(world.creation())  # recorded, and perhaps not dead yet

    def failed() -> bool:
        return [one.state for one in handler.observe(["n1"], 5.0)["n1"]] == [status.NodeStatus.FAILED]

    worlds.wait_until(failed, what="the death of the launcher")
    assert world.handler().create(world.creation()).instance_id == made.instance_id
    assert world.starts()["n1"] == 0


@pytest.mark.parametrize("step", LAUNCHER_STEPS)
def test_a_launcher_that_is_slow_when_its_worker_is_dead(world: worlds.World, step: str) -> None:
    """The next worker does not wait for a launcher that it knows nothing of; still only one of them wins."""
    handler = world.handler()
    handler._launcher.script, arrived, go = world.waiting_launcher(step)
    child = worlds.in_child(lambda: handler.create(world.creation()))
    worlds.wait_until(arrived.exists, what="the launcher's step")
    os.kill(child, signal.SIGKILL)
    worlds.exit_code(child)
    if step == "recorded":  # it is the one, whenever it goes on
        go.touch()
        assert_one(world)
        return
    assert_one(world)
    go.touch()
    wait_for_launchers(world)
    assert_one(world)


def test_a_launcher_that_is_late_makes_nothing_of_a_node_that_has_ended(world: worlds.World) -> None:
    handler = world.handler()
    handler._launcher.script, arrived, go = world.waiting_launcher("unrecorded")
    child = worlds.in_child(lambda: handler.create(world.creation()))
    worlds.wait_until(arrived.exists, what="the launcher's step")
    os.kill(child, signal.SIGKILL)
    worlds.exit_code(child)
    world.handler().forget("n1")
    go.touch()
    wait_for_launchers(world)
    assert not world.running()
    assert world.starts()["n1"] == 0
    with pytest.raises(errors.PermanentError, match="was dropped"):
        world.handler().create(world.creation())


def test_a_launcher_that_is_late_starts_nothing_after_the_deadline(world: worlds.World) -> None:
    handler = world.handler()
    handler._launcher.script, arrived, go = world.waiting_launcher("forked")
    before = time.monotonic()
    with pytest.raises(errors.OutcomeUnknown):
        handler.create(world.creation(timeout=0.5))
    assert time.monotonic() - before < 5
    assert arrived.exists()
    go.touch()
    wait_for_launchers(world)
    assert not world.record_path().exists()
    assert_one(world)


def test_what_a_terminal_sends_to_a_worker_is_not_for_its_launcher(
    world: worlds.World, tmp_path: pathlib.Path
) -> None:
    told = tmp_path / "told"
    handler = world.handler()
    handler._launcher.script = world.launcher(
        "read", f"open({str(told)!r}, 'w').write(str(os.getpgrp() == os.getpid()))"
    )
    handler.create(world.creation())
    assert told.read_text() == "True"


def test_workers_killed_at_any_moment(world: worlds.World) -> None:
    dice = random.Random(7)
    for number in range(12):
        node_id = f"n{number}"
        child = worlds.in_child(lambda node_id=node_id: world.handler().create(world.creation(node_id)))
        time.sleep(dice.uniform(0.0, 0.12))  # the moment of its death, not a synchronisation
        os.kill(child, signal.SIGKILL)
        worlds.exit_code(child)
        assert_one(world, node_id)
    wait_for_launchers(world)
    assert set(world.starts().values()) == {1}


def test_one_at_a_time_works_on_a_node(world: worlds.World) -> None:
    """Else one that has found nothing could make a node that another has made, dropped and archived meanwhile."""
    handler, other, refused = world.handler(), world.handler(), []

    def meanwhile(name: str) -> None:
        for call in (
            lambda: other.create(world.creation(timeout=0.05)),
            lambda: other.drop("n1:1:1", 0.05),
        ):
            with pytest.raises(errors.TransientError, match="in other hands"):
                call()
            refused.append(name)

    handler._step = meanwhile
    handler.create(world.creation())
    assert len(refused) == 6


def test_what_has_ended_is_not_made_again(world: worlds.World) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    world.kill()
    worlds.wait_until(lambda: not world.running(), what="its end")
    again = world.handler().create(world.creation())
    assert (again.instance_id, again.state) == (made.instance_id, status.NodeStatus.FAILED)
    world.drop_all(handler)
    for _ in range(2):
        with pytest.raises(errors.PermanentError, match="was dropped"):
            world.handler().create(world.creation())
        handler.forget("n1")
    assert not world.running()


def wait_for_launchers(world: worlds.World) -> None:
    """Until no launcher of this world runs any more."""

    def none() -> bool:
        lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
        return not any(f"{world.scratch}/launcher-" in line for line in lines)

    worlds.wait_until(none, what="the end of the launchers")
