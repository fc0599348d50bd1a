"""What containers are to us: pure functions on what the Docker Engine API documents."""

from __future__ import annotations

from typing import Any

import pytest

from occo_celery.model.status import NodeStatus
from occo_celery.plugins.resourcehandler import docker_listing

NOW = 1_800_000_000.0


def container(state: str, **changed: Any) -> dict[str, Any]:
    made = {
        "Id": "c1",
        "State": state,
        "Status": "Up 5 minutes",
        "Created": int(NOW) - 60,
        "Labels": {"occo_node_id": "n", "occo_infra_id": "i"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""}}},
    }
    return {**made, **changed}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("created", NodeStatus.PENDING),
        ("restarting", NodeStatus.PENDING),
        ("running", NodeStatus.READY),
        ("paused", NodeStatus.UNKNOWN),
        ("removing", NodeStatus.SHUTDOWN),
        ("exited", NodeStatus.FAILED),
        ("dead", NodeStatus.FAILED),
        ("a-new-one", NodeStatus.UNKNOWN),
    ],
)
def test_states(name: str, state: NodeStatus) -> None:
    seen = docker_listing.seen(container(name), "host", NOW)
    assert (seen.state, seen.reason.code, seen.node_id, seen.infra_id) == (state, name, "n", "i")


def test_the_reason_of_an_end_does_not_grow_old() -> None:
    first = docker_listing.seen(container("exited", Status="Exited (137) 5 seconds ago"), "host", NOW)
    later = docker_listing.seen(container("exited", Status="Exited (137) 2 minutes ago"), "host", NOW + 115)
    assert first.reason.text() == "exited: exit code 137"
    assert first.reason.same(later.reason)


@pytest.mark.parametrize(
    ("networks", "addresses"),
    [
        ({"bridge": {"IPAddress": "172.17.0.2"}}, ("172.17.0.2",)),
        (
            {"shop": {"IPAddress": "10.1.0.2", "GlobalIPv6Address": "fd00::2"}, "back": {"IPAddress": "10.2.0.2"}},
            ("10.2.0.2", "10.1.0.2", "fd00::2"),
        ),
        ({"host": {"IPAddress": ""}}, ("docker.example",)),
        ({"none": {"IPAddress": ""}}, ()),
        ({}, ()),
    ],
)
def test_addresses(networks: dict[str, Any], addresses: tuple[str, ...]) -> None:
    running = container("running", NetworkSettings={"Networks": networks})
    assert docker_listing.seen(running, "docker.example", NOW).addresses == addresses


def test_what_does_not_run_has_no_address() -> None:
    assert docker_listing.seen(container("exited"), "host", NOW).addresses == ()


def test_a_container_without_labels_is_nobodys() -> None:
    assert docker_listing.seen(container("running", Labels=None), "host", NOW).node_id == ""
