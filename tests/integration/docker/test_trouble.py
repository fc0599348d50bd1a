"""What the handler says when the daemon does not answer: dead, frozen, forbidden."""

from __future__ import annotations

import os
import socket
import time

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base
from tests.contract.cases import wait_until
from tests.integration.docker.conftest import TIMEOUT, World

pytestmark = pytest.mark.system


@pytest.mark.parametrize("endpoint", ["unix:///nowhere/docker.sock", "tcp"])
def test_where_nothing_listens_nothing_was_sent(world: World, node_id: str, endpoint: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refused
        if endpoint == "tcp":
            endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        handler = world.handler(endpoint=endpoint)
        for write in (lambda: handler.create(world.creation(node_id)), lambda: handler.drop("c1", TIMEOUT)):
            with pytest.raises(errors.TransientError) as caught:
                write()
            assert type(caught.value) is errors.TransientError
        with pytest.raises(errors.CloudSilent):
            handler.observe([node_id], TIMEOUT)
        with pytest.raises(errors.CloudSilent):
            handler.sweep(None, TIMEOUT)


def test_a_frozen_daemon_is_silent_in_time_and_what_it_makes_later_is_adopted(world: World, node_id: str) -> None:
    handler = world.handler()
    handler.observe([node_id], 1.5)
    world.daemon.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(errors.CloudSilent):
            handler.observe([node_id], 1.5)
        with pytest.raises(errors.OutcomeUnknown):
            handler.create(world.creation(node_id, timeout=1.5))
        with pytest.raises(errors.OutcomeUnknown):
            handler.drop("c1", 1.5)
        assert time.monotonic() - began < 30.0  # limits, not answers, ended them
    finally:
        world.daemon.thaw()
    wait_until(world.daemon.answers)

    def create() -> base.Seen | None:
        try:
            return handler.create(world.creation(node_id))
        except errors.TransientError:  # the first call is just being carried out
            return None

    made = wait_until(create)
    assert made is not None
    assert made.state is status.NodeStatus.READY
    assert [one["Id"] for one in world.daemon.containers()] == [made.instance_id]


def test_a_daemon_that_was_frozen_from_the_start_was_asked_for_nothing(world: World, node_id: str) -> None:
    world.daemon.freeze()
    try:
        with pytest.raises(errors.TransientError) as caught:
            world.handler().create(world.creation(node_id, timeout=1.5))
        assert type(caught.value) is errors.TransientError, "no doubt: the node may go elsewhere"
        with pytest.raises(errors.CloudSilent):
            world.handler().observe([node_id], 1.5)
    finally:
        world.daemon.thaw()
    wait_until(world.daemon.answers)
    assert world.daemon.containers() == []


def test_a_daemon_that_was_started_again_has_lost_its_containers_not_their_names(world: World, node_id: str) -> None:
    handler = world.handler()
    made = handler.create(world.creation(node_id))
    world.daemon.kill()
    wait_until(lambda: not _listens(world), what="the end of dockerd")
    world.daemon.start_again()

    def over() -> bool:
        (seen,) = handler.observe([node_id], TIMEOUT)[node_id]
        return seen.instance_id == made.instance_id and seen.state is status.NodeStatus.FAILED

    wait_until(over, 20.0, "the end of its container seen")
    handler.drop(made.instance_id, TIMEOUT)
    assert handler.observe([node_id], TIMEOUT)[node_id] == ()


def _listens(world: World) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(world.daemon.socket))
        return True
    except OSError:
        return False


def test_a_socket_that_one_may_not_use_is_for_a_person_to_see_to(world: World, node_id: str) -> None:
    handler = world.handler()
    world.daemon.folder.chmod(0o711)
    world.daemon.socket.chmod(0o600)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setuid(65534)
            try:
                handler.observe([node_id], TIMEOUT)
            except errors.PermanentError as problem:
                code = 0 if "may not use the daemon's socket" in str(problem) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_time_no_call(world: World, node_id: str) -> None:
    with pytest.raises(errors.TransientError, match="no time"):
        world.handler().create(world.creation(node_id, timeout=0.5))
    with pytest.raises(errors.CloudSilent, match="no time"):
        world.handler().observe([node_id], 0.5)
    assert world.daemon.containers() == []


def test_a_child_process_makes_a_client_of_its_own(world: World) -> None:
    """Two processes on one connection would read each other's answers."""
    handler = world.handler()
    handler.observe(["nobody"], TIMEOUT)
    (parents,) = handler._clients._made.values()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            handler.observe(["nobody"], TIMEOUT)
            code = 0 if any(one is not parents for one in handler._clients._made.values()) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
