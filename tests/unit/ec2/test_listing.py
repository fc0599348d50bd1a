"""What instances are to us, where moto's server never shows such: pure functions on what EC2 documents."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from occo_celery.model.status import NodeStatus
from occo_celery.plugins.resourcehandler import ec2_listing

NOW = 1_800_000_000.0


def instance(state: str, code: str = "", message: str = "", age: float = 10.0) -> dict[str, Any]:
    return {
        "InstanceId": "i-1",
        "State": {"Name": state},
        "StateReason": {"Code": code, "Message": message},
        "LaunchTime": datetime.datetime.fromtimestamp(NOW - age, datetime.UTC),
        "Tags": [{"Key": "occo_node_id", "Value": "n"}, {"Key": "occo_infra_id", "Value": "i"}],
    }


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("pending", NodeStatus.PENDING),
        ("running", NodeStatus.READY),
        ("shutting-down", NodeStatus.SHUTDOWN),
        ("stopping", NodeStatus.SHUTDOWN),
        ("stopped", NodeStatus.SHUTDOWN),
        ("terminated", NodeStatus.FAILED),
        ("a-new-one", NodeStatus.UNKNOWN),
    ],
)
def test_states(name: str, state: NodeStatus) -> None:
    seen = ec2_listing.seen(instance(name), NOW)
    assert (seen.state, seen.reason.code) == (state, name.replace("-", "_"))
    assert (seen.node_id, seen.infra_id, seen.addresses) == ("n", "i", ())


def test_the_reason_is_the_clouds() -> None:
    seen = ec2_listing.seen(instance("terminated", "Client.VolumeLimitExceeded", "Volume limit exceeded"), NOW)
    assert seen.reason.text() == "terminated: Client.VolumeLimitExceeded: Volume limit exceeded"
    assert ec2_listing.seen(instance("pending", "pending", "pending"), NOW).reason.text() == "pending"


@pytest.mark.parametrize(
    ("one", "counts"),
    [
        (instance("running", age=1e6), True),
        (instance("shutting-down", "Client.UserInitiatedShutdown"), True),
        (instance("terminated", "Client.UserInitiatedShutdown"), False),
        (instance("terminated"), False),
        (instance("terminated", "Server.InternalError"), True),
        (instance("terminated", "Server.InternalError", age=ec2_listing.LAUNCHING), False),
    ],
)
def test_what_is_over_is_not_listed_but_what_failed_to_launch_is_for_a_while(
    one: dict[str, Any], counts: bool
) -> None:
    assert ec2_listing.counts(one, NOW) is counts


def test_without_a_launch_time_or_a_reason() -> None:
    bare = {"InstanceId": "i-1", "State": {"Name": "terminated"}}
    assert not ec2_listing.counts(bare, NOW)
    assert ec2_listing.seen(bare, NOW).reason.since == NOW
