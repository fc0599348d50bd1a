"""Nova in the contract suite: servers of a real OpenStack; see tests/openstack/cloud.py."""

from __future__ import annotations

import base64
import contextlib
import functools
import pathlib
from collections.abc import Iterator
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

    def make_handler(auth: dict[str, str] = auth) -> nova.NovaHandler:
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

    @contextlib.contextmanager
    def lose_answer() -> Iterator[base.ResourceHandler]:
        """A request to a frozen service waits in its socket, and is carried out when nobody waits for it any more."""
        handler = make_handler()
        handler.create(creation("warmed-up"))  # it has asked for all that a creation needs to know
        with there.frozen("nova-api"):
            yield handler

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
        lose_answer=lose_answer,
        wrong_credentials=lambda: make_handler({**auth, "password": cases.WRONG}),
        why_not={"throttle": "Nova throttles nobody, proxies before it do: tests/unit/nova has what they answer"},
    )
