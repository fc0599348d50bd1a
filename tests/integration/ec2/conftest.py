"""A region of each test's own, at this test process's EC2: nothing is there but what the test makes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, ec2
from tests import ec2_cloud

TIMEOUT = 10.0
AUTH = {"accesskey": ec2_cloud.ACCESS_KEY, "secretkey": ec2_cloud.SECRET_KEY}
_REGIONS = itertools.cycle(["eu-central-1", "eu-north-1", "eu-west-2", "eu-west-3", "us-east-2", "us-west-1"])


@dataclass(frozen=True)
class World:
    """The cloud, and what leads to a region of it."""

    cloud: ec2_cloud.Server
    client: Any
    section: dict[str, Any]

    def handler(self, auth: dict[str, str] = AUTH, **changed: Any) -> ec2.Ec2Handler:
        section = {**self.section, **changed}
        return ec2.Ec2Handler(ec2.Ec2Handler.account(section, {}), section, auth, {})

    def creation(
        self, node_id: str, user_data: str | None = None, timeout: float = TIMEOUT, **changed: Any
    ) -> base.Creation:
        section = {**self.section, **changed}
        return base.Creation(
            node_id=node_id, infra_id="shop", node_name="web", section=section, user_data=user_data, timeout=timeout
        )

    def everything(self) -> list[dict[str, Any]]:
        """All that the region lists, past the handler."""
        pages = self.client.get_paginator("describe_instances").paginate()
        return [one for page in pages for each in page["Reservations"] for one in each["Instances"]]

    def instances(self) -> list[dict[str, Any]]:
        """Those that are not terminated."""
        return [one for one in self.everything() if one["State"]["Name"] != "terminated"]


@pytest.fixture
def world() -> Iterator[World]:
    cloud = ec2_cloud.server()
    region = next(_REGIONS)
    client = cloud.client(region)
    section = {
        "type": "ec2",
        "endpoint": cloud.endpoint,
        "regionname": region,
        "image_id": ec2_cloud.IMAGE,
        "instance_type": "t3.micro",
    }
    made = World(cloud, client, section)
    made.cloud.calls()
    yield made
    left = [one["InstanceId"] for one in made.everything()]
    if left:
        client.terminate_instances(InstanceIds=left)
        client.delete_tags(Resources=left, Tags=[{"Key": "occo_node_id"}])  # moto lists what is terminated for ever
    client.close()
