"""A node instance and the operation that holds it, as rows of the UDS say; and the words for their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from occo_celery.model.status import NodeStatus, Reason  # names: a field is called status

#: Attributes that every instance has which has an address: the first of these.
ADDRESS_ATTRIBUTES = frozenset({"ip", "ipaddress", "address"})


class Phase(StrEnum):
    """The life of an infrastructure."""

    SUBMITTED = "submitted"  # stored; managed if it has a row in the schedule. tear_down moves it on
    TEARING_DOWN = "tearing_down"  # the teardown chain moves it on
    TORN_DOWN = "torn_down"  # the end; kept for reports


class Lifecycle(StrEnum):
    """How far an instance is, by what has been done (its status is what has been seen)."""

    PLANNED = "planned"  # intended by a pass; no cloud has heard of it. create_node's claim moves it on
    CREATING = "creating"  # a call may have been sent. create_node's record, or a drop, moves it on
    RUNNING = "running"  # the cloud gave an instance_id. A pass or the teardown moves it on
    DROPPING = "dropping"  # to be ended, however long it takes; drop_node archives it


#: Every allowed move; None is "no row" before, and "archived" after.
MOVES: frozenset[tuple[Lifecycle | None, Lifecycle | None]] = frozenset(
    {
        (None, Lifecycle.PLANNED),
        (Lifecycle.PLANNED, Lifecycle.CREATING),
        (Lifecycle.PLANNED, None),  # detached before anything began
        (Lifecycle.PLANNED, Lifecycle.DROPPING),
        (Lifecycle.CREATING, Lifecycle.PLANNED),  # refused by the cloud: nothing is there
        (Lifecycle.CREATING, Lifecycle.RUNNING),
        (Lifecycle.CREATING, Lifecycle.DROPPING),
        (Lifecycle.RUNNING, Lifecycle.DROPPING),
        (Lifecycle.DROPPING, Lifecycle.RUNNING),  # detached before the drop began
        (Lifecycle.DROPPING, None),
    }
)


class Replacement(StrEnum):
    """Why and how an instance is to be replaced; an update of the description sets and takes back the first two."""

    ROLLING = "rolling"  # made from an older description: dropped when its replacement is ready
    RECREATE = "recreate"  # likewise, but dropped first
    ASKED = "asked"  # a user wants another in its place; done as rolling


class OperationKind(StrEnum):
    """What an operation row asks for."""

    CREATE = "create"
    DROP = "drop"
    STRAY = "stray"  # drop an instance that bears our tag but is not the recorded one
    TEARDOWN = "teardown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The intent to change one thing, and who is at it. Times are seconds since the epoch.

    target: the node_id, ``stray:<account>:<instance_id>``, or the infra_id of a teardown.
    token, lease_until: who holds it and until when. retry_at: not before; None waits for a change.
    due: when beat sends it again. begun: a cloud call of it may have been sent. doubt_until: until then a
    call that was sent may still be carried out, or be carried out and not be listed yet.
    absent_since: first seen not to be in the cloud any more. tried: positions of implementations that failed.
    detail: what else performing it needs (stray: account, implementation, instance_id; teardown: nothing).
    """

    target: str
    infra_id: str
    kind: OperationKind
    attach_epoch: int
    node_name: str = ""
    token: str | None = None
    lease_until: float | None = None
    attempts: int = 0
    retry_at: float | None = None
    due: float | None = None
    begun: bool = False
    doubt_until: float = 0.0
    absent_since: float | None = None
    stage: int = 0
    tried: tuple[int, ...] = ()
    reason: Reason | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One node instance as stored.

    implementation: the chosen implementation of the node definition, frozen from the first call on; position: its
    place in the definition. inputs: what its templates were rendered from (no secrets), frozen likewise; JSON as
    it is stored, which only infraprocessor/resolve.py reads: it may be long, and few ask.
    ready_at: first time ready. failing_since: failing its checks without a break since. missing_since: the cloud
    does not list it since. lost_at: first seen to be lost for good. outdated: to be replaced, and how.
    version: raised by every write, so that a pass never overwrites what it has not read.
    """

    node_id: str
    infra_id: str
    node_name: str
    lifecycle: Lifecycle
    status: NodeStatus
    reason: Reason
    version: int
    created_at: float
    account: str | None = None
    instance_id: str | None = None
    addresses: tuple[str, ...] = ()
    implementation: Mapping[str, Any] | None = None
    position: int | None = None
    inputs: str | None = None
    context_hash: str | None = None
    called_at: float | None = None
    ready_at: float | None = None
    failing_since: float | None = None
    missing_since: float | None = None
    lost_at: float | None = None
    outdated: Replacement | None = None
    attempts: int = 0  # of the operation that holds it, 0 without one
    waiting: bool = False  # its operation failed, or its account is silent: it waits for its time or for a change

    def offers(self, attribute: str) -> bool:
        """Has it this attribute, for the mappings of dependencies?"""
        if attribute in ADDRESS_ATTRIBUTES:
            return bool(self.addresses)
        told = (self.implementation or {}).get("contextualisation") or {}
        return attribute in (told.get("attributes") or {})

    @property
    def alive(self) -> bool:
        """Counts towards its node's target: planned, being made or running."""
        return self.lifecycle is not Lifecycle.DROPPING

    @property
    def ready(self) -> bool:
        return self.lifecycle is Lifecycle.RUNNING and self.status is NodeStatus.READY

    @property
    def in_flight(self) -> bool:
        """Its creation goes on at this moment (one that waits to be tried again holds nobody up)."""
        if self.lifecycle is Lifecycle.RUNNING:
            return self.ready_at is None and self.status is NodeStatus.PENDING
        return self.alive and not self.waiting
