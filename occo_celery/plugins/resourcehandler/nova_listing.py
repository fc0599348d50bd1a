"""What servers, ports and floating addresses are to us, as Nova and Neutron show them. Pure.

Called by nova.py. The states are those of "Server concepts" in the Compute API guide, the partial records those of
"Handling Down Cells" there.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base

#: Metadata of servers.
NODE_ID, INFRA_ID, NODE_NAME = "occo_node_id", "occo_infra_id", "occo_node_name"
#: The description of ports, and the first word of that of floating addresses.
MARK = "occo_celery"
#: Before the ids of what is left of a server, in instance ids.
PORT, ADDRESS = "port/", "floating_ip/"

#: What an operator is at (a resize, a rescue) is left alone: nobody can tell what it will be.
STATES = {
    "ACTIVE": status.NodeStatus.READY,
    "MIGRATING": status.NodeStatus.READY,
    "PASSWORD": status.NodeStatus.READY,
    "VERIFY_RESIZE": status.NodeStatus.READY,
    "BUILD": status.NodeStatus.PENDING,
    "DELETED": status.NodeStatus.SHUTDOWN,
    "PAUSED": status.NodeStatus.SHUTDOWN,
    "SHELVED": status.NodeStatus.SHUTDOWN,
    "SHELVED_OFFLOADED": status.NodeStatus.SHUTDOWN,
    "SHUTOFF": status.NodeStatus.SHUTDOWN,
    "SOFT_DELETED": status.NodeStatus.SHUTDOWN,
    "SUSPENDED": status.NodeStatus.SHUTDOWN,
    "ERROR": status.NodeStatus.FAILED,
}
#: A task that a server does not come back from.
DELETING = ("deleting", "soft-deleting")


def label(node_id: str, infra_id: str) -> str:
    """The name of a port, and the end of the description of a floating address, by which both are known again."""
    return f"{node_id} {infra_id}"


def all_seen(servers: Iterable[Mapping[str, Any]], ports: Iterable[Mapping[str, Any]], now: float) -> list[base.Seen]:
    """All that is ours, or another installation's. A port is one of its own only when no server of its node is there:
    ports are made before servers and outlive them. now: seconds since the epoch.

    Raises CloudSilent where the list is not whole.
    """
    by_id = {}  # one that is just being scheduled may be on two pages
    for server in servers:
        if "metadata" not in server:
            raise errors.CloudSilent("nova: a part of the cloud (a cell) is down; its servers are not shown")
        if NODE_ID in server["metadata"]:
            by_id[server["id"]] = seen(server, now)
    found = list(by_id.values())
    served = {one.node_id for one in found}
    return found + [one for one in map(_port, ports) if one is not None and one.node_id not in served]


def left_over(addresses: Iterable[Mapping[str, Any]]) -> list[base.Seen]:
    """Floating addresses of ours whose port is gone."""
    found = []
    for one in addresses:
        words = str(one.get("description") or "").split(" ")
        if len(words) == 3 and words[0] == MARK and not one.get("port_id"):
            found.append(_rest(words[1], words[2], ADDRESS + str(one["id"]), "a floating address without its port"))
    return found


def _port(port: Mapping[str, Any]) -> base.Seen | None:
    words = str(port.get("name") or "").split(" ")
    if port.get("device_id") or len(words) != 2:
        return None
    return _rest(words[0], words[1], PORT + str(port["id"]), "a port and its floating address without a server")


def _rest(node_id: str, infra_id: str, instance_id: str, what: str) -> base.Seen:
    return base.Seen(
        node_id=node_id,
        infra_id=infra_id,
        instance_id=instance_id,
        state=status.NodeStatus.FAILED,
        reason=status.Reason(code="left_over", arguments={"detail": what}),
    )


def seen(server: Mapping[str, Any], now: float) -> base.Seen:
    """One server of ours."""
    name, task = str(server.get("status", "UNKNOWN")), server.get("OS-EXT-STS:task_state")
    state = STATES.get(name, status.NodeStatus.UNKNOWN)
    if task in DELETING:
        state, name = status.NodeStatus.SHUTDOWN, "deleting"
    why = server.get("fault") or {}
    detail = str(why.get("message") or "")[:500]
    begun = server.get("OS-SRV-USG:launched_at") if state is status.NodeStatus.READY else server.get("created")
    metadata = server.get("metadata") or {}
    return base.Seen(
        node_id=str(metadata.get(NODE_ID, "")),
        infra_id=str(metadata.get(INFRA_ID, "")),
        instance_id=str(server["id"]),
        state=state,
        reason=status.Reason(
            code=name.lower(), arguments={"detail": detail} if detail else {}, since=_seconds(begun, now)
        ),
        addresses=_addresses(server.get("addresses") or {}),
    )


def _addresses(networks: Mapping[str, Collection[Mapping[str, Any]]]) -> tuple[str, ...]:
    """Floating ones first, as Occopus has it; of each kind those of IPv4 first."""
    known = [one for some in networks.values() for one in some]
    known.sort(key=lambda one: (one.get("OS-EXT-IPS:type") != "floating", one.get("version", 4)))
    return tuple(str(one["addr"]) for one in known)


def _seconds(text: str | None, now: float) -> float:
    """Since the epoch; Nova writes UTC with and without saying so."""
    if not text:
        return now
    moment = datetime.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
