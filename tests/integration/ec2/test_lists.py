"""How the handler reads EC2's lists: calls, pages, tags, addresses, states, and whose connections it uses."""

from __future__ import annotations

import base64
import gzip
import os
import random
import uuid

import pytest

from occo_celery import errors
from occo_celery.model import status
from tests.integration.ec2.conftest import TIMEOUT, World

EC2 = "occo_celery.plugins.resourcehandler.ec2"


def make(world: World, count: int) -> list[str]:
    """Instances of this world's own; whatever is left of earlier ones in the region is no longer ours."""
    node_ids = [f"node-{uuid.uuid4().hex[:12]}" for _ in range(count)]
    handler = world.handler()
    for node_id in node_ids:
        handler.create(world.creation(node_id))
    world.cloud.calls()
    return node_ids


def test_every_page_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node_ids = make(world, 12)
    monkeypatch.setattr(f"{EC2}.PAGE", 5)
    assert sorted(one.node_id for one in world.handler().sweep("shop", TIMEOUT)) == sorted(node_ids)
    assert len(world.cloud.calls()) == 3
    found = world.handler().observe(node_ids, TIMEOUT)
    assert all(len(found[node_id]) == 1 for node_id in node_ids)
    assert len(world.cloud.calls()) == 3


def test_many_are_looked_at_by_the_pages_of_all_if_these_are_fewer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_ids = make(world, 9)
    monkeypatch.setattr(f"{EC2}.FILTER_VALUES", 2)
    found = world.handler().observe([*node_ids, "nobody"], TIMEOUT)
    assert [len(found[node_id]) for node_id in node_ids] == [1] * 9
    assert found["nobody"] == ()
    assert world.cloud.calls() == ["DescribeInstances"], "instead of five"


def test_few_of_very_many_are_looked_at_by_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node_ids = make(world, 17)
    monkeypatch.setattr(f"{EC2}.FILTER_VALUES", 2)
    monkeypatch.setattr(f"{EC2}.PAGE", 5)
    found = world.handler().observe(node_ids[:4], TIMEOUT)
    assert set(found) == set(node_ids[:4])
    assert all(len(listed) == 1 for listed in found.values())
    assert len(world.cloud.calls()) == 1 + 2, "one of four pages showed that there are more"


def test_large_user_data_are_compressed_and_what_is_too_large_is_never_sent(world: World) -> None:
    text = "#cloud-config\n" + "# a comment\n" * 2000
    made = world.handler().create(world.creation("node-of-size", user_data=text))
    told = world.client.describe_instance_attribute(InstanceId=made.instance_id, Attribute="userData")
    assert gzip.decompress(base64.b64decode(told["UserData"]["Value"])).decode() == text
    assert world.handler().create(world.creation("node-of-size", user_data=text)) == made, "by the same token"
    world.cloud.calls()
    with pytest.raises(errors.PermanentError, match="EC2 takes 16,384"):
        world.handler().create(world.creation("other", user_data=random.Random(1).randbytes(20_000).hex()))
    assert world.cloud.calls() == []


def test_tags_of_users_beside_ours(world: World) -> None:
    made = world.handler().create(world.creation("node-of-tags", tags={"team": "grüne", "cost center": "7"}))
    (one,) = world.instances()
    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    assert tags == {
        "Name": "web.shop",
        "occo_node_id": "node-of-tags",
        "occo_infra_id": "shop",
        "occo_node_name": "web",
        "team": "grüne",
        "cost center": "7",
    }
    assert (made.node_id, made.infra_id) == ("node-of-tags", "shop")


def test_key_groups_and_network_are_those_of_the_section(world: World) -> None:
    subnet = world.client.describe_subnets()["Subnets"][0]
    group = world.client.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]["GroupId"]
    world.client.create_key_pair(KeyName=f"key-{uuid.uuid4().hex[:8]}")
    key = world.client.describe_key_pairs()["KeyPairs"][-1]["KeyName"]
    world.handler().create(
        world.creation("node-net", key_name=key, security_group_ids=[group], subnet_id=subnet["SubnetId"])
    )
    (one,) = world.instances()
    assert (one["KeyName"], one["SubnetId"]) == (key, subnet["SubnetId"])
    assert [each["GroupId"] for each in one["SecurityGroups"]] == [group]


def test_the_public_address_comes_first(world: World) -> None:
    (node_id,) = make(world, 1)
    (one,) = world.instances()
    (seen,) = world.handler().observe([node_id], TIMEOUT)[node_id]
    assert seen.addresses == (one["PublicIpAddress"], one["PrivateIpAddress"])
    assert seen.reason.since == one["LaunchTime"].timestamp()


def test_what_was_stopped_is_going_and_what_was_terminated_is_gone(world: World) -> None:
    (node_id,) = make(world, 1)
    (one,) = world.instances()
    world.client.stop_instances(InstanceIds=[one["InstanceId"]])
    (seen,) = world.handler().observe([node_id], TIMEOUT)[node_id]
    assert (seen.state, seen.reason.code) == (status.NodeStatus.SHUTDOWN, "stopped")
    assert "Client.UserInitiatedShutdown" in seen.reason.text()
    world.client.terminate_instances(InstanceIds=[one["InstanceId"]])
    assert world.handler().observe([node_id], TIMEOUT)[node_id] == ()


def test_a_child_process_makes_a_client_of_its_own(world: World) -> None:
    """Two processes on one connection would read each other's answers."""
    handler = world.handler()
    handler.observe(["nobody"], TIMEOUT)
    (parents,) = handler._clients._made.values()
    handler.observe(["nobody"], TIMEOUT)
    assert list(handler._clients._made.values()) == [parents], "in one process it is used again"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            handler.observe(["nobody"], TIMEOUT)
            code = 0 if any(one is not parents for one in handler._clients._made.values()) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_console_is_read(world: World) -> None:
    make(world, 1)
    (one,) = world.instances()
    assert len(world.handler().logs(one["InstanceId"], 1, TIMEOUT).splitlines()) <= 1
    assert world.handler().logs(one["InstanceId"], 0, TIMEOUT) == ""
