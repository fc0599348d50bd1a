"""What servers, ports and floating addresses are to us."""

from __future__ import annotations

from typing import Any

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import nova_listing

NOW = 1_800_000_000.0


def server(number: int = 1, state: str = "ACTIVE", **more: Any) -> dict[str, Any]:
    return {
        "id": f"server-{number}",
        "status": state,
        "created": "2026-11-29T07:00:00Z",
        "OS-SRV-USG:launched_at": "2026-11-29T07:00:05.000000",
        "metadata": {"occo_node_id": f"n{number}", "occo_infra_id": "shop", "occo_node_name": "web"},
        "addresses": {},
        **more,
    }


def port(number: int = 1, device: str = "") -> dict[str, Any]:
    return {"id": f"port-{number}", "name": f"n{number} shop", "device_id": device}


@pytest.mark.parametrize(
    ("state", "more", "expected"),
    [
        ("ACTIVE", {}, status.NodeStatus.READY),
        ("BUILD", {}, status.NodeStatus.PENDING),
        ("ERROR", {}, status.NodeStatus.FAILED),
        ("SHUTOFF", {}, status.NodeStatus.SHUTDOWN),
        ("SOFT_DELETED", {}, status.NodeStatus.SHUTDOWN),
        ("MIGRATING", {}, status.NodeStatus.READY),
        ("RESIZE", {}, status.NodeStatus.UNKNOWN),
        ("RESCUE", {}, status.NodeStatus.UNKNOWN),
        ("UNKNOWN", {}, status.NodeStatus.UNKNOWN),
        ("of tomorrow", {}, status.NodeStatus.UNKNOWN),
        ("ACTIVE", {"OS-EXT-STS:task_state": "deleting"}, status.NodeStatus.SHUTDOWN),
        ("ERROR", {"OS-EXT-STS:task_state": "deleting"}, status.NodeStatus.SHUTDOWN),
    ],
)
def test_states(state: str, more: dict[str, Any], expected: status.NodeStatus) -> None:
    assert nova_listing.seen(server(state=state, **more), NOW).state is expected


def test_when_it_began_and_why() -> None:
    assert nova_listing.seen(server(), NOW).reason.since == 1795935605.0
    assert nova_listing.seen(server(state="BUILD"), NOW).reason.since == 1795935600.0
    failed = nova_listing.seen(server(state="ERROR", fault={"code": 500, "message": "No valid host was found."}), NOW)
    assert failed.reason.text() == "error: No valid host was found."


def test_floating_addresses_come_first_and_then_those_of_ipv4() -> None:
    def one(address: str, kind: str, version: int = 4) -> dict[str, Any]:
        return {"addr": address, "OS-EXT-IPS:type": kind, "version": version}

    networks = {
        "inside": [one("fd00::5", "fixed", 6), one("192.0.2.5", "fixed"), one("198.51.100.7", "floating")],
        "other": [one("192.0.2.200", "fixed")],
    }
    assert nova_listing.seen(server(addresses=networks), NOW).addresses == (
        "198.51.100.7",
        "192.0.2.5",
        "192.0.2.200",
        "fd00::5",
    )


def test_servers_of_others_are_not_ours() -> None:
    assert nova_listing.all_seen([server(metadata={"role": "mail"})], [], NOW) == []


def test_a_server_that_is_on_two_pages_is_one() -> None:
    assert len(nova_listing.all_seen([server(), server(2), server()], [], NOW)) == 2


def test_a_list_that_is_not_whole_is_no_answer() -> None:
    """Of servers in a cell that is down Nova shows this much: "Handling Down Cells" in the Compute API guide."""
    down = {"id": "server-2", "status": "UNKNOWN", "tenant_id": "p", "created": "2026-11-29T07:00:00Z", "links": []}
    with pytest.raises(errors.CloudSilent, match="cell"):
        nova_listing.all_seen([server(), down], [], NOW)


def test_a_port_is_left_over_when_no_server_of_its_node_is_there() -> None:
    found = nova_listing.all_seen([server(1)], [port(1), port(2), port(3, device="server-3")], NOW)
    assert [one.instance_id for one in found] == ["server-1", "port/port-2"]
    assert (found[1].node_id, found[1].infra_id, found[1].state) == ("n2", "shop", status.NodeStatus.FAILED)


def test_a_floating_address_is_left_over_when_its_port_is_gone() -> None:
    addresses = [
        {"id": "1", "description": "occo_celery n1 shop", "port_id": "port-1"},
        {"id": "2", "description": "occo_celery n2 shop", "port_id": None},
        {"id": "3", "description": "mine", "port_id": None},
        {"id": "4", "description": None, "port_id": None},
    ]
    (left,) = nova_listing.left_over(addresses)
    assert (left.instance_id, left.node_id, left.infra_id) == ("floating_ip/2", "n2", "shop")
