"""What a container is to us, as ``GET /containers/json`` shows it. Pure.

Called by docker.py. The states are those of the Docker Engine API, "List containers".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base

#: The labels that lists go by.
NODE_ID, INFRA_ID, NODE_NAME = "occo_node_id", "occo_infra_id", "occo_node_name"

STATES = {
    "created": status.NodeStatus.PENDING,
    "restarting": status.NodeStatus.PENDING,
    "running": status.NodeStatus.READY,
    "paused": status.NodeStatus.UNKNOWN,  # somebody did that, and may undo it
    "removing": status.NodeStatus.SHUTDOWN,
    "exited": status.NodeStatus.FAILED,
    "dead": status.NodeStatus.FAILED,
}

#: In the ``Status`` of what has ended, e.g. ``Exited (137) 5 minutes ago``.
_EXIT_CODE = re.compile(r"\((\d+)\)")


def seen(container: Mapping[str, Any], host: str, now: float) -> base.Seen:
    """One container. host: where those are found that share the host's network; now: seconds since the epoch."""
    labels = container.get("Labels") or {}
    name = str(container.get("State") or "unknown")
    state = STATES.get(name, status.NodeStatus.UNKNOWN)
    lives = state in (status.NodeStatus.PENDING, status.NodeStatus.READY)
    return base.Seen(
        node_id=labels.get(NODE_ID, ""),
        infra_id=labels.get(INFRA_ID, ""),
        instance_id=str(container["Id"]),
        state=state,
        reason=status.Reason(
            code=name,
            arguments=_ending(container) if name in ("exited", "dead") else {},
            since=float(container.get("Created") or now) if lives else now,
        ),
        addresses=_addresses(container, host) if state is status.NodeStatus.READY else (),
    )


def names(container: Mapping[str, Any]) -> set[str]:
    """The names of a container, without their slash."""
    return {str(name).removeprefix("/") for name in container.get("Names") or ()}


def _ending(container: Mapping[str, Any]) -> dict[str, Any]:
    """The exit code. The rest of the words grows old with each look."""
    code = _EXIT_CODE.search(str(container.get("Status", "")))
    return {"detail": f"exit code {code[1]}"} if code else {}


def _addresses(container: Mapping[str, Any], host: str) -> tuple[str, ...]:
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    if "host" in networks:
        return (host,)
    found = [networks[name].get(kind) for kind in ("IPAddress", "GlobalIPv6Address") for name in sorted(networks)]
    return tuple(str(address) for address in found if address)
