"""The main job, end to end, on real processes: what a newcomer does first."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

import psutil
import pytest

from occo_celery.api.manager import InfrastructureManager
from tests import databases
from tests.acceptance.installation import EXAMPLES, Installation
from tests.contract.cases import wait_until


def shop(installation: Installation) -> str:
    """The example, built through the command line; its infra_id."""
    installation.occo("import", str(EXAMPLES / "shop" / "node_definitions.yaml"))
    told = installation.occo("--json", "build", str(EXAMPLES / "shop" / "shop.yaml"), "--parallel", "--timeout", "60")
    infra_id = json.loads(told)["infra_id"]
    assert isinstance(infra_id, str)
    return infra_id


def visit(installation: Installation, infra_id: str) -> str:
    (gateway,) = installation.manager.report(infra_id)["gateway"]["instances"].values()
    with urllib.request.urlopen(f"http://{gateway['resource_address']}:8000/visit", timeout=5) as answer:
        return str(answer.read().decode())


def named(installation: Installation, node: str) -> psutil.Process:
    """The process of an instance of a node."""
    return next(one for one in installation.nodes() if one.environ()["OCCO_NODE_NAME"] == node)


def test_the_whole_life_of_the_shop(installation: Installation) -> None:
    infra_id = shop(installation)
    installation.wait_ready(infra_id, 4)
    assert visit(installation, infra_id).startswith("visit 1,"), "gateway, application and store use each other"
    assert visit(installation, infra_id).startswith("visit 2,")

    victim = named(installation, "app")
    victim.kill()
    wait_until(lambda: not victim.is_running() or victim.status() == "zombie")
    installation.wait_ready(infra_id, 4)
    assert visit(installation, infra_id).startswith("visit 3,")

    installation.occo("detach", infra_id)
    victim = installation.nodes()[0]
    passes = _passes(installation, infra_id)
    victim.kill()
    wait_until(lambda: len(installation.nodes()) == 3)
    other = installation.manager.submit_infrastructure((EXAMPLES / "shop" / "shop.yaml").read_text())
    installation.manager.attach(other)
    wait_until(lambda: installation.manager.get(other).passes >= 5, 60, "five passes on another infrastructure")
    assert len(installation.nodes(infra_id)) == 3, "nobody heals what is detached"
    assert _passes(installation, infra_id) == passes

    installation.occo("destroy", infra_id, "--timeout", "60")
    assert installation.nodes(infra_id) == []
    installation.manager.detach(other)
    installation.manager.tear_down(other).wait(60)
    assert installation.nodes() == []


def _passes(installation: Installation, infra_id: str) -> int:
    return sum(event.name == "infrastart" for event in installation.manager.events(infra_id))


@databases.on("postgresql")
def test_it_is_scaled_and_updated(installation: Installation) -> None:
    infra_id = shop(installation)
    told = json.loads(installation.occo("--json", "scale", infra_id, "app", "--up", "1", "--timeout", "60"))
    assert (told["target"], told["ready"]) == (3, True)
    installation.wait_ready(infra_id, 5)
    said = installation.occo("scale", infra_id, "app", "--to", "9", code=1)
    assert "would have 9 instances; its limits are 2 to 4" in said

    before = {one.pid for one in installation.nodes() if one.environ()["OCCO_NODE_NAME"] == "gateway"}
    description = (EXAMPLES / "shop" / "shop.yaml").read_text()
    changed = installation.home / "changed.yaml"
    changed.write_text(description.replace("type: gateway", "type: gateway\n    variables: {colour: green}"))
    told = json.loads(installation.occo("--json", "update", infra_id, str(changed), "--timeout", "60"))
    assert (told["generation"], told["ready"]) == (2, True)
    installation.wait_ready(infra_id, 5)
    after = {one.pid for one in installation.nodes() if one.environ()["OCCO_NODE_NAME"] == "gateway"}
    assert len(after) == 1
    assert not before & after
    assert visit(installation, infra_id).startswith("visit")

    installation.occo("suspend", infra_id)
    assert "suspended" in installation.occo("list")
    installation.occo("resume", infra_id)
    victim = next(iter(installation.manager.report(infra_id)["app"]["instances"]))
    installation.occo("scale", infra_id, "app", "--drop", victim, "--timeout", "60")
    assert victim not in installation.manager.report(infra_id)["app"]["instances"]
    assert "0 instructions" in installation.occo("retry", infra_id)


@databases.on("sqlite")
def test_two_managers_see_the_same(installation: Installation) -> None:
    """Another process, by the command line, and this one."""
    infra_id = shop(installation)
    other = InfrastructureManager(system=installation.system)
    assert json.loads(installation.occo("--json", "report", infra_id)).keys() == other.report(infra_id).keys()
    assert other.get(infra_id).process_strategy == "parallel"
    installation.occo("detach", infra_id)
    with pytest.raises(LookupError):
        other.get(infra_id)


# On PostgreSQL `make chaos` does so for minutes.
@databases.on("sqlite")
def test_everything_is_killed_and_started_again(installation: Installation) -> None:
    infra_id = shop(installation)
    installation.kill("passes", "instructions", "beat")
    installation.broker.kill()
    named(installation, "app").kill()
    wait_until(lambda: len(installation.nodes()) == 3)
    installation.start_all()
    installation.wait_ready(infra_id, 4)


@databases.on("sqlite")
def test_a_teardown_whose_workers_died_is_resumed(make_installation: Callable[..., Installation]) -> None:
    installation = make_installation(call_timeout=2.0)  # leases are six times as long, and waited for
    installation.start_all()
    infra_id = shop(installation)
    installation.manager.detach(infra_id)
    installation.kill("instructions")
    handle = installation.manager.tear_down(infra_id)
    first = named(installation, "gateway")
    installation.start("instructions")
    wait_until(lambda: not first.is_running() or first.status() == "zombie", 60, "the first drop")
    installation.kill("instructions")
    installation.start("instructions")
    handle.wait(120)
    assert installation.nodes() == []
