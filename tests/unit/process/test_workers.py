"""The handler in the processes of Celery's prefork pool, which are daemonic and have threads beside them."""

from __future__ import annotations

import threading

import billiard
import pytest

from occo_celery.model import status
from occo_celery.plugins.resourcehandler import process
from tests.unit.process import world as worlds


def live(handler: process.ProcessHandler, world: worlds.World, node_id: str) -> None:
    assert billiard.current_process().daemon
    made = handler.create(world.creation(node_id))
    assert handler.observe([node_id], 5.0)[node_id][0].state is status.NodeStatus.READY
    assert [seen.instance_id for seen in handler.sweep("infra-1", 5.0) if seen.node_id == node_id] == [
        made.instance_id
    ]
    handler.drop(made.instance_id, 5.0)
    world.drop_all(handler, node_id)
    handler.forget(node_id)


@pytest.mark.parametrize("made_in", ["the parent", "the child"])
def test_a_whole_life_in_daemonic_children(world: worlds.World, made_in: str) -> None:
    """A handler that was made, and used, before the fork serves as well as one made after it."""
    inherited = world.handler()
    kept = inherited.create(world.creation("kept"))
    children = [
        billiard.Process(
            target=lambda n: live(inherited if made_in == "the parent" else world.handler(), world, n),
            args=(f"n{number}",),
            daemon=True,
        )
        for number in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert [seen.instance_id for seen in inherited.sweep("infra-1", 5.0)] == [kept.instance_id]


def test_a_node_outlives_the_worker_that_made_it(world: worlds.World) -> None:
    child = billiard.Process(target=lambda: world.handler().create(world.creation()), daemon=True)
    child.start()
    child.join(30)
    assert child.exitcode == 0
    (seen,) = world.handler().observe(["n1"], 5.0)["n1"]
    assert seen.state is status.NodeStatus.READY


def test_while_another_node_is_slow_to_start(world: worlds.World) -> None:
    """What one thread waits for holds up no other."""
    slow = world.handler()
    slow._launcher.script, arrived, go = world.waiting_launcher("read")
    thread = threading.Thread(target=lambda: slow.create(world.creation("n1")))
    thread.start()
    try:
        worlds.wait_until(arrived.exists, what="the launcher's step")
        assert world.handler().create(world.creation("n2", timeout=5.0)).state is status.NodeStatus.READY
        assert slow.observe(["n2"], 5.0)["n2"][0].state is status.NodeStatus.READY
    finally:
        go.touch()
        thread.join()
    assert len(world.running()) == 2
