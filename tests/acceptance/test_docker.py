"""A whole life on Docker through real workers, in the daemon's network, so that they reach the containers."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests import docker_daemon
from tests.acceptance.installation import Installation
from tests.contract.cases import wait_until

pytestmark = pytest.mark.system

DEFINITIONS = """
'node_def:database':
  - resource: {type: docker, endpoint: 'ENDPOINT', image: 'IMAGE', origin: local}
    contextualisation:
      type: docker
      env: ["GREETING={{ variables.greeting }}"]
      command: [/bin/sh, -c, 'echo "$GREETING" > /greeting; trap "exit 0" TERM; httpd -f -p 8000 -h / & wait']
    health_check: {ping: false, ports: [8000]}
'node_def:web':
  - resource: {type: docker, endpoint: 'ENDPOINT', image: 'IMAGE', origin: local}
    contextualisation:
      type: docker
      env: {DATABASE: "http://{{ getip('database') }}:8000"}
      command:
        - /bin/sh
        - -c
        - 'wget -q -O /index.html $DATABASE/greeting; trap "exit 0" TERM; httpd -f -p 8000 -h / & wait'
    health_check:
      ping: false
      urls: ["http://{{ ip }}:8000/index.html"]
"""

DESCRIPTION = """
infra_name: site
user_id: tester
variables: {greeting: hello from the database}
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
def daemon() -> Iterator[docker_daemon.Daemon]:
    one = docker_daemon.daemon()
    yield one
    one.remove_all()


def visit(daemon: docker_daemon.Daemon, address: str) -> str:
    asked = (
        f"import urllib.request as u; print(u.urlopen('http://{address}:8000/index.html', timeout=5).read().decode())"
    )
    done = subprocess.run(
        [*daemon.inside(), sys.executable, "-c", asked], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def test_the_whole_life_of_a_site(
    daemon: docker_daemon.Daemon, make_installation: Callable[..., Installation], tmp_path: pathlib.Path
) -> None:
    installation = make_installation(before=daemon.inside())
    installation.start_all()
    definitions = tmp_path / "definitions.yaml"
    definitions.write_text(DEFINITIONS.replace("ENDPOINT", daemon.endpoint).replace("IMAGE", docker_daemon.BUSYBOX))
    installation.occo("import", str(definitions))
    infra_id = installation.manager.add(DESCRIPTION)
    installation.manager.get(infra_id).wait_ready(60)

    def addresses() -> list[str]:
        found = installation.manager.report(infra_id)["web"]["instances"].values()
        return [one["resource_address"] for one in found if one["state"] == "ready"]

    assert [visit(daemon, address) for address in addresses()] == ["hello from the database"] * 2

    victim = daemon.containers(label="occo_node_name=web")[0]["Id"]
    with daemon.client() as client:
        client.kill(victim)
    wait_until(
        lambda: victim not in {one["Id"] for one in daemon.containers()} and len(addresses()) == 2,
        60,
        "its replacement",
    )
    assert [visit(daemon, address) for address in addresses()] == ["hello from the database"] * 2
    node_id = next(iter(installation.manager.report(infra_id)["web"]["instances"]))
    installation.occo("logs", node_id)

    installation.occo("destroy", infra_id, "--detach", "--timeout", "60")
    assert daemon.containers() == []
