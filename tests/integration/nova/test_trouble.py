"""Lost answers, wrong credentials, quotas, parts that are down; against a real OpenStack."""

from __future__ import annotations

import os
import uuid

import pytest

from occo_celery import errors
from tests.contract.cases import wait_until
from tests.integration.nova.conftest import MARKS, TIMEOUT, World

pytestmark = MARKS


@pytest.fixture
def node_id() -> str:
    return str(uuid.uuid4())


def test_a_creation_whose_answer_was_lost_is_found_once(world: World, node_id: str) -> None:
    handler = world.handler()
    handler.observe([node_id], TIMEOUT)
    handler.create(world.creation(str(uuid.uuid4())))  # it knows the flavor now
    with world.cloud.frozen("nova-api"), pytest.raises(errors.OutcomeUnknown):
        handler.create(world.creation(node_id, timeout=1.5))
    world.wait_ready(handler, node_id)
    (seen,) = handler.observe([node_id], TIMEOUT)[node_id]
    assert seen.node_id == node_id


@pytest.mark.parametrize("service", ["nova-api", "neutron-api"])
def test_a_frozen_service_is_silent_in_time(world: World, node_id: str, service: str) -> None:
    handler = world.handler()
    handler.observe([node_id], TIMEOUT)
    with world.cloud.frozen(service), pytest.raises(errors.CloudSilent):
        handler.observe([node_id], 1.5)
    assert handler.observe([node_id], TIMEOUT) == {node_id: ()}


def test_what_cannot_be_freed_now_is_said_to_be_left(
    world: World, node_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nova has refused, the port was made, and Neutron does not answer any more."""
    handler = world.handler()
    handler.observe([node_id], TIMEOUT)
    free = handler._free

    def frozen(instance_id: str, timeout: float) -> None:
        with world.cloud.frozen("neutron-api"):
            free(instance_id, 1.5)

    monkeypatch.setattr(handler, "_free", frozen)
    with pytest.raises(errors.OutcomeUnknown, match="may be left"):
        handler.create(world.creation(node_id, floating_ip=True, image_id=str(uuid.uuid4())))
    monkeypatch.undo()
    world.end(handler, node_id)
    wait_until(world.is_empty, what="everything freed")


def test_wrong_credentials_are_for_a_person_to_see_to(world: World, node_id: str) -> None:
    handler = world.handler(auth={"username": "occo", "password": "surely-wrong"})
    for call in (
        lambda: handler.create(world.creation(node_id)),
        lambda: handler.observe([node_id], TIMEOUT),
        lambda: handler.drop(str(uuid.uuid4()), TIMEOUT),
    ):
        with pytest.raises(errors.PermanentError) as caught:
            call()
        assert "surely-wrong" not in str(caught.value)


def test_an_application_credential_will_do(world: World, node_id: str) -> None:
    whose = world.user.current_user_id
    made = world.user.identity.create_application_credential(whose, name="occo", secret="not-a-password")
    auth = {"type": "application_credential", "id": made.id, "secret": "not-a-password"}
    handler = world.handler(auth=auth)
    handler.create(world.creation(node_id))
    world.wait_ready(handler, node_id)
    world.end(handler, node_id)


def test_another_region_is_not_there(world: World, node_id: str) -> None:
    with pytest.raises(errors.PermanentError, match="nowhere"):
        world.handler(region_name="nowhere").observe([node_id], TIMEOUT)


def test_what_is_more_than_the_quota_is_no_room(world: World) -> None:
    world.cloud.set_quota(instances=1)
    try:
        handler = world.handler()
        handler.create(world.creation(str(uuid.uuid4())))
        with pytest.raises(errors.CapacityError, match="Quota exceeded"):
            handler.create(world.creation(str(uuid.uuid4()), floating_ip=True))
        assert len(world.servers()) == 1
        assert world.addresses() == []
    finally:
        world.cloud.reset_quota()


def test_a_child_process_makes_connections_of_its_own(world: World, node_id: str) -> None:
    """Two processes on one connection would read each other's answers."""
    handler = world.handler()
    handler.observe([node_id], TIMEOUT)
    parents = handler._client._process
    child = os.fork()
    if child == 0:
        code = 1
        try:
            handler.observe([node_id], TIMEOUT)
            code = 0 if handler._client._process is not parents else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_is_logged_of_what_is_sent(world: World, node_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """keystoneauth would log requests with their bodies at level DEBUG."""
    caplog.set_level("DEBUG")
    world.handler().create(world.creation(node_id, user_data="#cloud-config\n# hunter2\n"))
    sent = "I2Nsb3VkLWNvbmZpZ"  # how it begins in base64
    assert not [line for line in caplog.messages if "hunter2" in line or sent in line or "X-Auth-Token" in line]
