"""What can be said of a node instance: its status, why, and how several findings become one.

behaviour: the worst of several findings counts, in the order of WORST_FIRST.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class NodeStatus(StrEnum):
    """The status of a node instance, as last observed."""

    READY = "ready"  # resource, config manager and health checks all say so
    PENDING = "pending"  # on its way: being made, booting, or not yet healthy for the first time
    SHUTDOWN = "shutdown"  # the cloud says that it is stopping or stopped
    UNKNOWN = "unknown"  # nobody could tell; never a ground to replace anything
    TEMP_FAILED = "temp_failed"  # was ready, fails its checks now; failed once that lasts for `timeout`
    FAILED = "failed"  # lost for good; the planner replaces it


WORST_FIRST = (
    NodeStatus.FAILED,
    NodeStatus.SHUTDOWN,
    NodeStatus.TEMP_FAILED,
    NodeStatus.UNKNOWN,
    NodeStatus.PENDING,
    NodeStatus.READY,
)


#: Statuses that an instance does not come back from.
LOST = frozenset({NodeStatus.FAILED, NodeStatus.SHUTDOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a status is what it is: a code and its arguments, never an age.

    since: when this code with these arguments was first seen, seconds since the epoch.
    """

    code: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    since: float = 0.0

    def same(self, other: Reason | None) -> bool:
        """True if the other says the same thing, whenever it began."""
        return other is not None and (self.code, dict(self.arguments)) == (other.code, dict(other.arguments))

    def text(self) -> str:
        """The reason as a person reads it, e.g. ``waiting_for db: port 3306 refused``."""
        details = ", ".join(str(value) for value in self.arguments.values() if value not in (None, ""))
        return f"{self.code}: {details}" if details else self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One answer about an instance: from its cloud, its config manager or a health check."""

    status: NodeStatus
    reason: Reason


def worst(findings: Iterable[Finding]) -> Finding | None:
    """The finding that counts: the first of the worst status; None when there are none."""
    return min(findings, key=lambda finding: WORST_FIRST.index(finding.status), default=None)
