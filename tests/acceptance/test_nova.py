"""A whole life on a real OpenStack through real workers: built, healed, torn down, floating addresses freed."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.acceptance.installation import Installation
from tests.contract.cases import wait_until
from tests.openstack import cloud, seeds

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1200)]  # the cloud starts, and a teardown waits for settle

DESCRIPTION = """
infra_name: site
user_id: tester
nodes:
  - &DATABASE {name: database, type: database}
  - &WEB {name: web, type: web, scaling: {min: 2, max: 3}}
dependencies:
  - [*WEB, *DATABASE]
"""


@pytest.fixture(params=["sqlite"])
def database_url(sqlite_url: str) -> str:
    """One engine is enough for what is shown here."""
    return sqlite_url


@pytest.fixture
def there() -> Iterator[cloud.Cloud]:
    one = cloud.cloud()
    yield one
    one.remove_all()


def definitions(there: cloud.Cloud) -> str:
    section = {
        "type": "nova",
        "endpoint": there.auth_url,
        "project_id": there.project_id,
        "image_id": there.image_id,
        "flavor_name": seeds.TINY,
        "network_id": there.network_id,
    }
    told = {"runcmd": [["sh", "-c", "echo {{ getip('database') }} > /database"]]}
    return yaml.safe_dump(
        {
            "node_def:database": [{"resource": section, "health_check": {"ping": False}}],
            "node_def:web": [
                {
                    "resource": {**section, "floating_ip": "add_yes"},
                    "contextualisation": {"type": "cloudinit", "context_template": told},
                    "health_check": {"ping": False},
                }
            ],
        }
    )


def test_the_whole_life_of_a_site(
    there: cloud.Cloud, make_installation: Callable[..., Installation], tmp_path: pathlib.Path
) -> None:
    installation = make_installation(call_timeout=20.0)
    auth = tmp_path / "auth_data.yaml"
    login = {"username": there.user.username, "password": there.user.password}
    auth.write_text(yaml.safe_dump({"resource": [{"type": "nova", "auth_data": login}]}))
    auth.chmod(0o600)
    installation.environment["OCCOPUS_AUTH_DATA_PATH"] = str(auth)
    installation.start_all()
    written = tmp_path / "definitions.yaml"
    written.write_text(definitions(there))
    installation.occo("import", str(written))
    infra_id = installation.manager.add(DESCRIPTION)
    installation.manager.get(infra_id).wait_ready(300)

    with there.connection() as admin, there.user_connection() as user:

        def servers(name: str) -> list[Any]:
            every = admin.compute.servers(all_projects=True)
            return [one for one in every if one.metadata.get("occo_node_name") == name]

        (database,) = servers("database")
        first = servers("web")
        (inside,) = [one["addr"] for one in database.addresses[seeds.NETWORK]]
        for one in first:
            assert inside in base64.b64decode(one.user_data).decode()
        assert len(list(user.network.ips())) == 2

        user.compute.delete_server(first[0].id)
        wait_until(
            lambda: (
                first[0].id not in {one.id for one in servers("web")}
                and installation.states(infra_id) == ["ready"] * 3
                and len(list(user.network.ips())) == 2
            ),
            300,
            "its replacement, and the old address freed",
        )

        installation.occo("detach", infra_id)
        installation.manager.tear_down(infra_id).wait(timeout=420)
        assert list(user.compute.servers()) == []
        assert list(user.network.ips()) == []
        assert [one for one in user.network.ports() if not one.device_owner.startswith("network:")] == []
    assert login["password"] not in [
        word for name in ("passes", "instructions", "beat") for word in installation.log(name).split()
    ]
