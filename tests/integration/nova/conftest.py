"""The project of this test process's OpenStack, empty before and after each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base, nova
from tests.contract.cases import wait_until
from tests.openstack import cloud, seeds

TIMEOUT = 20.0
#: The first test waits until the cloud is up.
MARKS = [pytest.mark.openstack, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class World:
    """The cloud, what leads to the project, and the project as its user sees it past the handler."""

    cloud: cloud.Cloud
    user: Any
    section: dict[str, Any]
    auth: dict[str, str]

    def handler(self, auth: dict[str, str] | None = None, **changed: Any) -> nova.NovaHandler:
        section = {**self.section, **changed}
        return nova.NovaHandler(nova.NovaHandler.account(section, {}), section, auth or self.auth, {})

    def creation(
        self, node_id: str, user_data: str | None = None, timeout: float = TIMEOUT, **changed: Any
    ) -> base.Creation:
        section = {**self.section, **changed}
        return base.Creation(
            node_id=node_id, infra_id="shop", node_name="web", section=section, user_data=user_data, timeout=timeout
        )

    def server(self, made: base.Seen) -> Any:
        return self.user.compute.get_server(made.instance_id)

    def servers(self) -> list[Any]:
        return list(self.user.compute.servers())

    def ports(self) -> list[Any]:
        """Without those of routers."""
        return [one for one in self.user.network.ports() if not one.device_owner.startswith("network:")]

    def addresses(self) -> list[Any]:
        return list(self.user.network.ips())

    def volumes(self) -> list[Any]:
        return list(self.user.block_storage.volumes())

    def is_empty(self) -> bool:
        return not (self.servers() or self.ports() or self.addresses())

    def wait_ready(self, handler: nova.NovaHandler, node_id: str) -> base.Seen:
        def ready() -> base.Seen | None:
            found = handler.observe([node_id], TIMEOUT)[node_id]
            return next((one for one in found if one.state is status.NodeStatus.READY), None)

        found = wait_until(ready, 30.0, f"{node_id} ready")
        assert found is not None
        return found

    def end(self, handler: nova.NovaHandler, node_id: str) -> None:
        """As the infraprocessor does."""

        def gone() -> bool:
            listed = handler.observe([node_id], TIMEOUT)[node_id]
            for one in listed:
                handler.drop(one.instance_id, TIMEOUT)
            return not listed

        wait_until(gone, 30.0, f"{node_id} gone")


@pytest.fixture
def world() -> Iterator[World]:
    there = cloud.cloud()
    section = {
        "type": "nova",
        "endpoint": there.auth_url,
        "project_id": there.project_id,
        "region_name": there.region,
        "image_id": there.image_id,
        "flavor_name": seeds.TINY,
        "network_id": there.network_id,
    }
    with there.user_connection() as user:
        auth = {"username": there.user.username, "password": there.user.password}
        yield World(cloud=there, user=user, section=section, auth=auth)
    there.remove_all()
