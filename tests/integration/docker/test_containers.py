"""The life of containers, looked at past the handler: what is told to them, how they end, what marks remain."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from requests import exceptions

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import docker
from tests.contract.cases import wait_until
from tests.docker_daemon import SLEEPER
from tests.integration.docker.conftest import TIMEOUT, World

pytestmark = pytest.mark.system

DEAF = ["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]


def output(world: World, node_id: str) -> str:
    with world.daemon.client() as client:
        return str(client.logs(f"occo-{node_id}").decode())


def marks(world: World) -> set[str]:
    with world.daemon.client() as client:
        return {volume["Name"] for volume in client.volumes()["Volumes"] or ()}


def test_environment_and_command_arrive(world: World, node_id: str) -> None:
    told = {"GREETING": "grüße, $HOME", "TWO": "lines\nhere"}
    command = ["/bin/sh", "-c", 'echo "$GREETING|$TWO|$1"; sleep 600', "sh", "it's"]
    world.handler().create(world.creation(node_id, command=command, environment=told))
    expected = "grüße, $HOME|lines\nhere|it's\n"
    wait_until(lambda: output(world, node_id) == expected, what="what it was told")


@pytest.mark.parametrize("stream", [1, 2])
def test_logs_are_the_last_lines_of_either_output(world: World, node_id: str, stream: int) -> None:
    script = f"for word in one zwei: grüße; do echo $word >&{stream}; done; sleep 600"
    handler = world.handler()
    made = handler.create(world.creation(node_id, command=["/bin/sh", "-c", script]))
    wait_until(lambda: len(output(world, node_id).splitlines()) == 3)
    assert handler.logs(made.instance_id, 10, TIMEOUT) == "one\nzwei:\ngrüße"
    assert handler.logs(made.instance_id, 2, TIMEOUT) == "zwei:\ngrüße"
    assert handler.logs(made.instance_id, 0, TIMEOUT) == ""


def test_logs_of_nobody(world: World) -> None:
    with pytest.raises(errors.PermanentError, match=r"(?i)no such container"):
        world.handler().logs("nobody", 1, TIMEOUT)


def test_a_command_as_one_text_is_split_and_no_shell_sees_it(world: World, node_id: str) -> None:
    world.handler().create(world.creation(node_id, command="/bin/echo 'a  b' $HOME; c"))
    wait_until(lambda: output(world, node_id) == "a  b $HOME; c\n", what="its words")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"command": "/bin/echo 'open"}, "cannot be split"),
        ({"command": ["surely-no-such-program", "hunter2"]}, "surely-no-such-program"),
        ({"command": None}, "(?i)no command"),
        ({"network_mode": "surely_no_such_network"}, "surely_no_such_network"),
        ({"network_mode": "container:nobody"}, "nobody"),
        ({"image": "Not An Image"}, "(?i)invalid"),
        ({"user_data": "#cloud-config\n"}, "containers have no cloud-init"),
    ],
)
def test_what_can_never_start_is_permanent_and_gone(
    world: World, node_id: str, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.PermanentError, match=message) as caught:
        world.handler().create(world.creation(node_id, **wrong))
    assert "hunter2" not in str(caught.value)
    assert world.daemon.containers() == []
    assert marks(world) == set(), "the same node may be made of another implementation"


def test_the_network_of_the_host(world: World, node_id: str) -> None:
    made = world.handler().create(world.creation(node_id, network_mode="host"))
    assert (made.state, made.addresses) == (status.NodeStatus.READY, ("127.0.0.1",))


def test_a_network_of_its_own(world: World, node_id: str) -> None:
    with world.daemon.client() as client:
        network = client.create_network("shop", driver="bridge")["Id"]
    try:
        made = world.handler().create(world.creation(node_id, network_mode="shop"))
        (listed,) = world.daemon.containers()
        assert made.addresses == (listed["NetworkSettings"]["Networks"]["shop"]["IPAddress"],)
    finally:
        world.daemon.remove_all()
        with world.daemon.client() as client:
            client.remove_network(network)


def test_what_was_made_and_not_started_is_started_by_the_next_call(
    world: World, node_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a worker that died between the two."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    handler = world.handler()
    monkeypatch.setattr(handler, "_start", die)
    with pytest.raises(KeyboardInterrupt):
        handler.create(world.creation(node_id))
    (seen,) = world.handler().observe([node_id], TIMEOUT)[node_id]
    assert (seen.state, seen.reason.code) == (status.NodeStatus.PENDING, "created")
    assert world.handler().create(world.creation(node_id)).state is status.NodeStatus.READY
    assert len(world.daemon.containers()) == 1


def test_what_has_ended_does_not_run_a_second_time(world: World, node_id: str) -> None:
    creation = world.creation(node_id, command=["/bin/sh", "-c", "echo ran; exit 7"])
    world.handler().create(creation)
    wait_until(lambda: world.daemon.containers(status="exited"), what="its end")
    again = world.handler().create(creation)
    assert (again.state, again.reason.text()) == (status.NodeStatus.FAILED, "exited: exit code 7")
    assert output(world, node_id) == "ran\n"


@pytest.mark.parametrize("call", [2, 3, 4])
def test_no_time_after_it_was_made_is_a_doubt(
    world: World, node_id: str, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """`Nothing was made` would have the core go elsewhere, and the container stay."""
    handler = world.handler()
    get, calls = handler._clients.get, itertools.count(1)

    def late(deadline: float, late: type[errors.ResourceError]) -> Any:
        if next(calls) == call:
            raise late("no time")
        return get(deadline, late)

    monkeypatch.setattr(handler._clients, "get", late)
    with pytest.raises(errors.OutcomeUnknown):
        handler.create(world.creation(node_id))
    assert len(world.daemon.containers()) == 1
    assert world.handler().create(world.creation(node_id)).state is status.NodeStatus.READY


def test_a_daemon_that_goes_away_after_it_was_made_is_a_doubt(
    world: World, node_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = world.handler()

    def refused(*_: object) -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError as cause:
            raise exceptions.ConnectionError("refused") from cause

    monkeypatch.setattr(handler, "_dropped_at", refused)
    with pytest.raises(errors.OutcomeUnknown):
        handler.create(world.creation(node_id))


def test_the_name_of_somebody_elses_container_is_said(world: World, node_id: str) -> None:
    with world.daemon.client() as client:
        client.create_container(world.section["image"], SLEEPER, name=f"occo-{node_id}")
    with pytest.raises(errors.PermanentError, match=f"another container is called occo-{node_id}"):
        world.handler().create(world.creation(node_id))


def test_an_id_that_is_no_name_gets_one(world: World) -> None:
    node_id = "nöde/1"
    made = world.handler().create(world.creation(node_id))
    assert world.handler().create(world.creation(node_id)).instance_id == made.instance_id
    assert [one.instance_id for one in world.handler().observe([node_id], TIMEOUT)[node_id]] == [made.instance_id]


# --- ending -----------------------------------------------------------------------------------------


def test_a_container_ends_by_itself_when_it_is_told(world: World, node_id: str) -> None:
    handler = world.handler()
    made = handler.create(world.creation(node_id))
    wait_until(lambda: output(world, node_id) == "up\n")
    handler.drop(made.instance_id, TIMEOUT)

    def ended() -> bool:
        (container,) = world.daemon.containers()
        return str(container["Status"]).startswith("Exited (0)")

    wait_until(ended, what="its own end")
    handler.drop(made.instance_id, TIMEOUT)
    assert world.daemon.containers() == []


def test_what_does_not_heed_the_signal_is_removed_after_its_time_and_told_once(world: World, node_id: str) -> None:
    handler = world.handler(options={"stop_grace": 3.0})
    counting = ["/bin/sh", "-c", "trap 'echo told' TERM; echo up; while :; do sleep 0.1; done"]
    made = handler.create(world.creation(node_id, command=counting))
    wait_until(lambda: output(world, node_id) == "up\n")
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        handler.drop(made.instance_id, TIMEOUT)
    wait_until(lambda: output(world, node_id) == "up\ntold\n")
    (still,) = handler.observe([node_id], TIMEOUT)[node_id]
    assert still.state is status.NodeStatus.READY

    def removed() -> bool:
        handler.drop(made.instance_id, TIMEOUT)
        return world.daemon.containers() == []

    wait_until(removed, what="its removal")
    assert time.monotonic() - began >= 2.9


def test_the_time_is_counted_across_workers(world: World, node_id: str) -> None:
    made = world.handler().create(world.creation(node_id, command=DEAF))
    world.handler().drop(made.instance_id, TIMEOUT)
    assert len(world.daemon.containers()) == 1
    with_another_clock = world.handler(options={"stop_grace": 0.0})
    with_another_clock.drop(made.instance_id, TIMEOUT)
    assert world.daemon.containers() == []


def test_a_paused_container_is_left_alone_and_can_be_dropped(world: World, node_id: str) -> None:
    handler = world.handler(options={"stop_grace": 0.0})
    made = handler.create(world.creation(node_id))
    with world.daemon.client() as client:
        client.pause(made.instance_id)
    (seen,) = handler.observe([node_id], TIMEOUT)[node_id]
    assert (seen.state, seen.reason.code) == (status.NodeStatus.UNKNOWN, "paused")
    handler.drop(made.instance_id, TIMEOUT)
    handler.drop(made.instance_id, TIMEOUT)
    assert world.daemon.containers() == []


def test_an_end_by_itself_shows_its_exit_code(world: World, node_id: str) -> None:
    handler = world.handler()
    handler.create(world.creation(node_id, command=["/bin/sh", "-c", "exit 7"]))

    def reason() -> str:
        (seen,) = handler.observe([node_id], TIMEOUT)[node_id]
        return seen.reason.text() if seen.state is status.NodeStatus.FAILED else ""

    assert wait_until(reason) == "exited: exit code 7"


def test_volumes_of_an_image_go_with_the_container(world: World, node_id: str) -> None:
    with world.daemon.client() as client:
        host = client.create_host_config()
        name, labels = f"occo-{node_id}", {"occo_node_id": node_id, "occo_infra_id": "shop"}
        client.create_container(
            world.section["image"], SLEEPER, name=name, labels=labels, volumes=["/data"], host_config=host
        )
    handler = world.handler()
    made = handler.create(world.creation(node_id))
    assert len(marks(world)) == 1, "an anonymous volume"
    for _ in range(2):
        handler.drop(made.instance_id, TIMEOUT)
        wait_until(lambda: not any(one["State"] == "running" for one in world.daemon.containers()))
    handler.drop(made.instance_id, TIMEOUT)
    assert marks(world) == {f"occo-dropped-{node_id}"}


def test_a_stray_that_bears_the_labels_of_a_node_is_dropped_alone(world: World, node_id: str) -> None:
    handler = world.handler()
    made = handler.create(world.creation(node_id))
    labels = {"occo_node_id": node_id, "occo_infra_id": "shop"}
    with world.daemon.client() as client:
        stray = client.create_container(world.section["image"], SLEEPER, labels=labels)["Id"]
        client.start(stray)
    assert len(handler.observe([node_id], TIMEOUT)[node_id]) == 2
    handler.drop(stray, TIMEOUT)
    assert [one["Id"] for one in world.daemon.containers()] == [made.instance_id]
    assert marks(world) == set()
    assert handler.create(world.creation(node_id)).instance_id == made.instance_id


# --- marks ------------------------------------------------------------------------------------------


def test_what_vanished_is_not_made_again_once_it_is_forgotten(world: World, node_id: str) -> None:
    world.handler().create(world.creation(node_id))
    world.daemon.remove_all()
    world.handler().forget(node_id)
    with pytest.raises(errors.PermanentError, match="was dropped"):
        world.handler().create(world.creation(node_id))
    assert world.daemon.containers() == []


def test_marks_are_kept_for_an_hour(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "TIDYING", 0.0)
    real = time.time

    def forget(node_id: str, age: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() - age)
        world.handler().forget(node_id)

    forget("old", docker.KEPT + 1)
    forget("young", docker.KEPT - 60)
    forget("new", 0.0)
    assert marks(world) == {"occo-dropped-young", "occo-dropped-new"}
