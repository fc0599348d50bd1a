"""What an instance is to us, as RunInstances and DescribeInstances show it. Pure.

Called by ec2.py. The states are those of "Amazon EC2 instance state changes" in the EC2 User Guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base, ec2_section

NODE_ID, INFRA_ID, NODE_NAME = (f"{ec2_section.OURS}{what}" for what in ("node_id", "infra_id", "node_name"))

STATES = {
    "pending": status.NodeStatus.PENDING,
    "running": status.NodeStatus.READY,
    "shutting-down": status.NodeStatus.SHUTDOWN,
    "terminated": status.NodeStatus.FAILED,
    "stopping": status.NodeStatus.SHUTDOWN,
    "stopped": status.NodeStatus.SHUTDOWN,
}

#: The reason of an instance whose end was asked for, by us or by anybody.
ASKED_FOR = "Client.UserInitiatedShutdown"
#: EC2 lists what was terminated for about an hour. One that ended by itself soon after its launch, because of an
#: encrypted volume say, is shown so long, seconds since then: passes should see why, but dropping waits for its end.
LAUNCHING = 120.0


def seen(instance: Mapping[str, Any], now: float) -> base.Seen:
    """One instance. now: seconds since the epoch."""
    tags = _tags(instance)
    name = _state(instance)
    state = STATES.get(name, status.NodeStatus.UNKNOWN)
    begun = _launched(instance, now) if state in (status.NodeStatus.PENDING, status.NodeStatus.READY) else now
    why = instance.get("StateReason") or {}
    detail = ": ".join(str(why[key]) for key in ("Code", "Message") if why.get(key) not in (None, "", name))
    return base.Seen(
        node_id=tags.get(NODE_ID, ""),
        infra_id=tags.get(INFRA_ID, ""),
        instance_id=str(instance["InstanceId"]),
        state=state,
        reason=status.Reason(
            code=name.replace("-", "_"), arguments={"detail": detail} if detail else {}, since=begun
        ),
        addresses=_addresses(instance),
    )


def counts(instance: Mapping[str, Any], now: float) -> bool:
    """Is it still there, or has it only just failed? What was terminated is listed no more."""
    if _state(instance) != "terminated":
        return True
    by_itself = (instance.get("StateReason") or {}).get("Code") not in (None, "", ASKED_FOR)
    return by_itself and now - _launched(instance, now) < LAUNCHING


def is_over(one: base.Seen) -> bool:
    """Has it been terminated?"""
    return one.state is status.NodeStatus.FAILED


def _state(instance: Mapping[str, Any]) -> str:
    return str((instance.get("State") or {}).get("Name", "unknown"))


def _tags(instance: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags") or ()}


def _launched(instance: Mapping[str, Any], now: float) -> float:
    launched = instance.get("LaunchTime")
    return float(launched.timestamp()) if launched is not None else now


def _addresses(instance: Mapping[str, Any]) -> tuple[str, ...]:
    """The public one first, as Occopus has it; templates find the private one by getprivip()."""
    known = (instance.get("PublicIpAddress"), instance.get("PrivateIpAddress"))
    return tuple(str(one) for one in known if one)
