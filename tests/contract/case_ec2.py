"""EC2 in the contract suite: boto3 against moto's server with ClientTokens; see tests/ec2_cloud.py."""

from __future__ import annotations

import base64
import contextlib
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

from occo_celery.plugins.resourcehandler import base, ec2
from tests import ec2_cloud
from tests.contract import cases

AUTH = {"accesskey": ec2_cloud.ACCESS_KEY, "secretkey": ec2_cloud.SECRET_KEY}


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    return case("ec2", ec2_cloud.REGION)


def case(name: str, region: str, *, stale: bool = False) -> cases.Case:
    """stale: what has been made is not listed until lists have settled."""
    cloud = ec2_cloud.server()
    section = {
        "type": "ec2",
        "endpoint": cloud.endpoint,
        "regionname": region,
        "image_id": ec2_cloud.IMAGE,
        "instance_type": "t3.micro",
    }
    client = cloud.client(region)
    if stale:
        cloud.lag(region)

    def make_handler(auth: dict[str, str] = AUTH) -> ec2.Ec2Handler:
        return ec2.Ec2Handler(ec2.Ec2Handler.account(section, {}), section, auth, {})

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(node_id=node_id, infra_id=infra_id, node_name="web", section={**section, **changed})

    def instance_id(node_id: str) -> str:
        listed = client.describe_instances(Filters=[{"Name": "tag:occo_node_id", "Values": [node_id]}])
        return str(listed["Reservations"][0]["Instances"][0]["InstanceId"])

    def user_data_of(node_id: str) -> str:
        told = client.describe_instance_attribute(InstanceId=instance_id(node_id), Attribute="userData")
        return base64.b64decode(told["UserData"]["Value"]).decode("utf-8")

    def cleanup() -> None:
        """What is left stays in the server's memory, under ids that no other test uses."""
        cloud.calls()
        cloud.catch_up(region, for_good=True)
        client.close()

    @contextlib.contextmanager
    def throttle() -> Iterator[float]:
        how = {"code": "RequestLimitExceeded", "status": 503, "message": "slow down", "headers": {"Retry-After": "7"}}
        cloud.fault("RunInstances", **how)
        yield 7.0
        cloud.calls()

    @contextlib.contextmanager
    def lose_answer() -> Iterator[base.ResourceHandler]:
        cloud.fault("RunInstances", hang_up=True)
        yield make_handler()
        cloud.calls()

    return cases.Case(
        name=name,
        make_handler=make_handler,
        creation=creation,
        vanish=lambda node_id: client.terminate_instances(InstanceIds=[instance_id(node_id)]),
        settle=functools.partial(cloud.catch_up, region) if stale else None,
        bad_creation=functools.partial(creation, image_id="ami-00000000000000000"),
        cleanup=cleanup,
        user_data_of=user_data_of,
        throttle=throttle,
        lose_answer=lose_answer,
        wrong_credentials=lambda: make_handler({**AUTH, "accesskey": "AKIANOBODY", "secretkey": cases.WRONG}),
    )
