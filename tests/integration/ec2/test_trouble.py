"""What the handler says when calls to EC2 go wrong: real requests, faults put in between."""

from __future__ import annotations

import socket
import time
import traceback
import uuid
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.model import status
from tests import ec2_cloud
from tests.integration.ec2.conftest import AUTH, TIMEOUT, World


def new_id() -> str:
    return f"node-{uuid.uuid4().hex[:12]}"


def test_throttling_is_refused_for_as_long_as_was_asked_for_and_not_tried_again_below(world: World) -> None:
    world.cloud.fault(
        "RunInstances", code="RequestLimitExceeded", status=503, message="slow down", headers={"Retry-After": "7"}
    )
    with pytest.raises(errors.TransientError, match="RequestLimitExceeded: slow down") as caught:
        world.handler().create(world.creation(new_id()))
    assert type(caught.value) is errors.TransientError
    assert caught.value.delay == 7
    assert world.cloud.calls() == ["RunInstances"], "boto3 does not try again: the core does"
    assert world.instances() == []


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "VcpuLimitExceeded", "InstanceLimitExceeded"])
@pytest.mark.parametrize("side", ["", "Server."])
def test_no_room_is_said_to_be_that(world: World, code: str, side: str) -> None:
    world.cloud.fault(
        "RunInstances", code=side + code, status=500 if code.startswith("Ins") else 400, message="none left"
    )
    with pytest.raises(errors.CapacityError, match=f"{code}: none left"):
        world.handler().create(world.creation(new_id()))


def test_wrong_credentials_are_for_a_person_to_see_to(world: World) -> None:
    handler = world.handler({"accesskey": "AKIANOBODY", "secretkey": "hunter2"})
    with pytest.raises(errors.PermanentError, match="AuthFailure") as caught:
        handler.create(world.creation(new_id()))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(errors.PermanentError, match="AuthFailure"):
        handler.observe([new_id()], TIMEOUT)


@pytest.mark.parametrize("auth", [{}, {"accesskey": "AKIA"}, {"accesskey": "AKIA", "secretkey": 9731}])
def test_credentials_that_are_missing_are_named_and_not_shown(world: World, auth: dict[str, str]) -> None:
    with pytest.raises(errors.PermanentError, match="secretkey: ") as caught:
        world.handler(auth)
    assert "9731" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "how",
    [
        {"late": 60.0},
        {"hang_up": True},
        {"garbage": "<html>bad gateway"},
        {"code": "InternalError", "status": 500, "message": "oh", "after": True},
        {"code": "Mystery", "status": 502, "message": "oh", "after": True},
    ],
    ids=["late", "hang_up", "garbage", "internal_error", "unknown_5xx"],
)
def test_what_was_made_unheard_is_in_doubt_and_the_next_call_adopts_it(world: World, how: dict[str, object]) -> None:
    creation = world.creation(new_id(), user_data="#cloud-config\n", timeout=3.0)
    world.cloud.fault("RunInstances", **how)
    with pytest.raises(errors.OutcomeUnknown):
        world.handler().create(creation)
    adopted = world.handler().create(creation)
    assert [one["InstanceId"] for one in world.instances()] == [adopted.instance_id]


def test_what_was_made_unheard_and_is_not_listed_yet_is_found_by_its_token(world: World) -> None:
    """What the traits give EC2's lists time for."""
    region, creation = world.section["regionname"], world.creation(new_id(), timeout=3.0)
    world.cloud.lag(region)
    try:
        world.cloud.fault("RunInstances", hang_up=True)
        with pytest.raises(errors.OutcomeUnknown):
            world.handler().create(creation)
        assert world.handler().observe([creation.node_id], TIMEOUT) == {creation.node_id: ()}
        assert world.handler().sweep("shop", TIMEOUT) == ()
        adopted = world.handler().create(creation)
        other = world.creation(creation.node_id, instance_type="t3.small")
        with pytest.raises(errors.TransientError, match="IdempotentParameterMismatch") as caught:
            world.handler().create(other)
        assert type(caught.value) is errors.TransientError, "what the token made may only not be listed yet"
        world.cloud.catch_up(region)
        assert world.handler().create(other).instance_id == adopted.instance_id
        (seen,) = world.handler().observe([creation.node_id], TIMEOUT)[creation.node_id]
        assert seen.instance_id == adopted.instance_id
    finally:
        world.cloud.catch_up(region, for_good=True)
    assert [one["InstanceId"] for one in world.instances()] == [adopted.instance_id]


def test_where_nothing_listens_nothing_was_sent(world: World) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refused
        handler = world.handler(endpoint=f"http://127.0.0.1:{free.getsockname()[1]}")
        for write in (lambda: handler.create(world.creation(new_id())), lambda: handler.drop("i-0123", TIMEOUT)):
            with pytest.raises(errors.TransientError, match="Could not connect") as caught:
                write()
            assert type(caught.value) is errors.TransientError
        with pytest.raises(errors.CloudSilent, match="Could not connect"):
            handler.observe([new_id()], TIMEOUT)


@pytest.mark.parametrize(
    "how", [{"late": 60.0}, {"hang_up": True}, {"garbage": "<html>"}], ids=["late", "gone", "garbage"]
)
def test_a_list_that_does_not_come_is_silence_in_time(world: World, how: dict[str, object]) -> None:
    world.cloud.fault("DescribeInstances", **how)
    began = time.monotonic()
    with pytest.raises(errors.CloudSilent):
        world.handler().observe([new_id()], 1.5)
    assert time.monotonic() - began < 30.0  # a limit, not the answer, ended it


def test_pages_share_the_time_of_the_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("occo_celery.plugins.resourcehandler.ec2.PAGE", 5)
    handler = world.handler()
    for _ in range(16):
        handler.create(world.creation(new_id()))
    for _ in range(4):
        world.cloud.fault("DescribeInstances", late=0.6)
    with pytest.raises(errors.CloudSilent):
        handler.sweep("shop", 2.0)


def test_no_time_no_call(world: World) -> None:
    with pytest.raises(errors.TransientError, match="no time"):
        world.handler().create(world.creation(new_id(), timeout=0.5))
    with pytest.raises(errors.CloudSilent, match="no time"):
        world.handler().observe([new_id()], 0.5)
    assert world.cloud.calls() == []


def test_the_time_that_making_a_client_takes_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = world.handler()
    connect = handler._clients._connect

    def slowly(limit: int) -> object:
        time.sleep(1.2)  # the delay itself is what is tested
        return connect(limit)

    monkeypatch.setattr(handler._clients, "_connect", slowly)
    with pytest.raises(errors.CloudSilent, match="no time"):
        handler.observe([new_id()], 2.0)
    assert world.cloud.calls() == []


def test_errors_hold_neither_secrets_nor_user_data(world: World) -> None:
    told = "#cloud-config\npassword: hunter2\n"
    encoded = "I2Nsb3VkLWNvbmZpZwpwYXNzd29yZDogaHVudGVyMgo="
    message = f"Invalid user data {told} or {encoded}, tag hunter3, signed with {ec2_cloud.SECRET_KEY}"
    creation = world.creation(new_id(), user_data=told, tags={"token": "hunter3"})
    world.cloud.fault("RunInstances", code="InvalidParameterValue", status=400, message=message)
    with pytest.raises(errors.PermanentError, match="InvalidParameterValue: Invalid user data") as caught:
        world.handler().create(creation)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(secret in shown for secret in ("hunter2", "hunter3", encoded, ec2_cloud.SECRET_KEY))


def test_what_boto3_refuses_itself_is_not_quoted(world: World) -> None:
    wrong: Any = ["hunter2"]
    with pytest.raises(errors.PermanentError, match="parameters") as caught:
        world.handler().drop(wrong, TIMEOUT)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_token_with_other_parameters_leads_to_what_it_made(world: World) -> None:
    node_id = new_id()
    first = world.handler().create(world.creation(node_id))
    again = world.handler().create(world.creation(node_id, instance_type="t3.small"))
    assert again.instance_id == first.instance_id
    world.client.delete_tags(Resources=[first.instance_id], Tags=[{"Key": "occo_node_id"}])
    with pytest.raises(errors.TransientError, match="IdempotentParameterMismatch") as caught:
        world.handler().create(world.creation(node_id, instance_type="t3.small"))
    assert type(caught.value) is errors.TransientError
    assert len(world.instances()) == 1


def test_a_token_whose_instance_was_terminated_leads_to_what_is_left_of_it(world: World) -> None:
    creation = world.creation(new_id())
    first = world.handler().create(creation)
    world.client.terminate_instances(InstanceIds=[first.instance_id])
    again = world.handler().create(creation)
    assert (again.instance_id, again.state) == (first.instance_id, status.NodeStatus.FAILED)
    assert "Client.UserInitiatedShutdown" in again.reason.text()
    world.client.delete_tags(Resources=[first.instance_id], Tags=[{"Key": "occo_node_id"}])
    with pytest.raises(errors.PermanentError, match="IdempotentInstanceTerminated"):
        world.handler().create(creation)


def test_of_several_under_a_tag_the_one_that_lives_is_adopted(world: World) -> None:
    creation = world.creation(new_id())
    first = world.handler().create(creation)
    world.client.terminate_instances(InstanceIds=[first.instance_id])
    tags = [{"Key": "occo_node_id", "Value": creation.node_id}]
    stray = world.client.run_instances(
        ImageId=ec2_cloud.IMAGE,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]["InstanceId"]
    assert world.handler().create(creation).instance_id == stray


def test_a_drop_that_is_not_allowed_is_said_so(world: World) -> None:
    made = world.handler().create(world.creation(new_id()))
    world.client.modify_instance_attribute(InstanceId=made.instance_id, DisableApiTermination={"Value": True})
    with pytest.raises(errors.PermanentError, match="OperationNotPermitted"):
        world.handler().drop(made.instance_id, TIMEOUT)
    world.client.modify_instance_attribute(InstanceId=made.instance_id, DisableApiTermination={"Value": False})


def test_an_id_that_ec2_does_not_take_for_one_is_gone(world: World) -> None:
    world.cloud.fault("TerminateInstances", code="InvalidInstanceID.Malformed", status=400, message="no id")
    world.handler().drop("surely-no-id", TIMEOUT)


def test_options_are_refused_because_there_are_none(world: World) -> None:
    handler = type(world.handler())
    with pytest.raises(errors.ConfigurationError, match="regoin"):
        handler(handler.account(world.section, {}), world.section, AUTH, {"regoin": "x"})
