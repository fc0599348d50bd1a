"""An infrastructure written for Occopus runs, with nothing but its `resource` sections exchanged: real processes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.acceptance.installation import Installation
from tests.contract.cases import wait_until

DEFINITIONS = """
'node_def:server_node':
    -
        resource: !yaml_import
            url: file://server_resource.yaml
        contextualisation:
            type: cloudinit
            context_template: !text_import
                url: file://cloud_init_server.yaml
            attributes:
                realm: "{{ infra_name }}-realm"
        health_check:
            ping: False
            ports:
                - 8000
            urls:
                - http://{{ip}}:8000/
            timeout: 600
'node_def:client_node':
    -
        resource: !yaml_import
            url: file://client_resource.yaml
        contextualisation:
            type: cloudinit
            context_template: !yaml_import
                url: file://cloud_init_client.yaml
        health_check:
            ping: False
"""

SERVER_RESOURCE = """
type: process
command: [python3, -m, http.server, "8000", --bind, $OCCO_ADDRESS]
"""

CLIENT_RESOURCE = "{type: process, command: [sleep, '600']}\n"

CLOUD_INIT_SERVER = """#cloud-config
write_files:
- content: "{{ variables.message }}"
  path: /etc/motd
runcmd:
- echo {{ cut(infra_id, 0, 8) }} {{ name }} {{ user_id }}
"""

CLOUD_INIT_CLIENT = """
write_files:
- path: /etc/servers
  content: |
    first: {{ getip('server') }}
    private: {{ getprivip('server') }}
    all: {{ getipall('server')|join(',') }}
    {% for node in find_node_id('server', allnodes=True) -%}
    server {{ cut(node, 0, 8) }} {{ ibget('node.resource.address', node) }}
    {% endfor -%}
    one: {{ ibget('node.resource.address', find_node_id('server')) }}
    infrastructure: {{ ibget('infrastructure.name', infra_id) }}
    realm: {{ server_realm }}
    mapped: {{ server_address }}
"""

INFRASTRUCTURE = """
user_id: somebody@somewhere.com
infra_name: migrated
nodes:
    -   &S
        name: server
        type: server_node
        scaling:
            min: 2
            max: 4
    -   &C
        name: client
        type: client_node
variables:
    message: Hello
dependencies:
    -
        connection: [ *C, *S ]
        mappings:
            -
                attributes: [ realm, server_realm ]
                synch: true
            -
                attributes: [ ipaddress, server_address ]
"""


@pytest.fixture
def installation(short_path: pathlib.Path) -> Iterator[Installation]:
    made = Installation(short_path, f"sqlite:///{short_path / 'uds.sqlite'}")
    made.start_all()
    yield made
    made.close()


def _told(installation: Installation, node_id: str) -> Any:
    """The cloud-config of an instance."""
    return yaml.safe_load((installation.home / "processes" / node_id / "context").read_text())


def test_it_runs(installation: Installation, tmp_path: pathlib.Path) -> None:
    for name, text in {
        "node_definitions.yaml": DEFINITIONS,
        "server_resource.yaml": SERVER_RESOURCE,
        "client_resource.yaml": CLIENT_RESOURCE,
        "cloud_init_server.yaml": CLOUD_INIT_SERVER,
        "cloud_init_client.yaml": CLOUD_INIT_CLIENT,
        "infrastructure.yaml": INFRASTRUCTURE,
    }.items():
        (tmp_path / name).write_text(text)
    installation.occo("import", str(tmp_path / "node_definitions.yaml"))
    infra_id = installation.occo("build", str(tmp_path / "infrastructure.yaml"), "--timeout", "100").split()[-1]
    installation.wait_ready(infra_id, 3)

    servers = installation.manager.report(infra_id)["server"]["instances"]
    addresses = {node_id: one["resource_address"] for node_id, one in servers.items()}
    (client,) = installation.manager.report(infra_id)["client"]["instances"]
    told = _told(installation, client)["write_files"][0]["content"]
    lines = dict(line.partition(": ")[::2] for line in told.splitlines() if ": " in line)
    assert sorted(lines["all"].split(",")) == sorted(addresses.values())
    assert {line for line in told.splitlines() if line.startswith("server ")} == {
        f"server {node_id[:8]} {address}" for node_id, address in addresses.items()
    }
    first = lines["all"].split(",")[0]
    assert {lines[key] for key in ("first", "private", "one", "mapped")} == {first}
    assert (lines["infrastructure"], lines["realm"]) == ("migrated", "migrated-realm")
    for node_id in servers:
        context = _told(installation, node_id)
        assert context["write_files"] == [{"content": "Hello", "path": "/etc/motd"}]
        assert context["runcmd"] == [f"echo {infra_id[:8]} server somebody@somewhere.com"]

    installation.occo("scale", infra_id, "server", "--to", "3")
    installation.wait_ready(infra_id, 4)
    installation.occo("destroy", infra_id, "--detach", "--timeout", "60")
    wait_until(lambda: installation.nodes(infra_id) == [])
