"""Nova in the contract suite: servers of a real OpenStack; see tests/openstack/cloud.py."""

from __future__ import annotations

import base64
import functools
import pathlib
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, nova
from tests.contract import cases
from tests.openstack import cloud, seeds

MARKS = [pytest.mark.openstack, pytest.mark.timeout(900)]


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    there = cloud.cloud()
    section = {
        "type": "nova",
        "endpoint": there.auth_url,
        "project_id": there.project_id,
        "image_id": there.image_id,
        "flavor_name": seeds.TINY,
        "network_id": there.network_id,
    }
    auth = {"username": there.user.username, "password": there.user.password}
    admin = there.connection()

    def make_handler() -> nova.NovaHandler:
        return nova.NovaHandler(nova.NovaHandler.account(section, {}), section, auth, {})

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(node_id=node_id, infra_id=infra_id, node_name="web", section={**section, **changed})

    def server_of(node_id: str) -> Any:
        (found,) = [
            one for one in admin.compute.servers(all_projects=True) if one.metadata.get("occo_node_id") == node_id
        ]
        return found

    def vanish(node_id: str) -> None:
        server = server_of(node_id)
        admin.compute.delete_server(server)
        admin.compute.wait_for_delete(server, interval=0.1)

    def user_data_of(node_id: str) -> str:
        return base64.b64decode(admin.compute.get_server(server_of(node_id)).user_data).decode()

    def cleanup() -> None:
        admin.close()
        there.remove_all()

    return cases.Case(
        name="nova",
        make_handler=make_handler,
        creation=creation,
        vanish=vanish,
        settle=None,
        bad_creation=functools.partial(creation, image_id="00000000-0000-0000-0000-000000000000"),
        cleanup=cleanup,
        user_data_of=user_data_of,
    )
