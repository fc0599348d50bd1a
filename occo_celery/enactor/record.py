"""Writes what a pass found and decided about one infrastructure, in the pass's recording transaction.

Called by passes.py once the lease was shown to be still ours. Each node row is written only if it is as the pass read
it; a row that has changed meanwhile is left to the next pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import sqlalchemy as sa

from occo_celery.model import instance, instruction, observation, status
from occo_celery.planner import scaling
from occo_celery.uds import events, infrastructures, leases, nodes, operations, phases, requests, schedule

#: A pending instance is looked at again after this share of its age, but not before LEAST_LOOK seconds.
LOOK_SHARE = 0.15
LEAST_LOOK = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One infrastructure's pass before it is written."""

    leased: leases.Leased
    assessed: Sequence[instance.Instance] = ()
    delta: instruction.Delta = field(default_factory=instruction.Delta)
    scaled: scaling.Scaled = field(default_factory=lambda: scaling.Scaled(targets={}))
    strays: Mapping[str, tuple[observation.Sighting, ...]] = field(default_factory=dict)
    error: str | None = None

    def outcome(self, now: float) -> schedule.Outcome:
        ages = [
            now - (node.called_at or node.created_at)
            for node in self.assessed
            if node.lifecycle is instance.Lifecycle.RUNNING and _unsettled(node)
        ]
        look = min((max(LEAST_LOOK, LOOK_SHARE * age) for age in ages), default=None)
        return schedule.Outcome(
            infra_id=self.leased.infra.infra_id,
            wake_seen=self.leased.infra.wake,
            steady=self.delta.ready and not self.delta.instructions and not self.scaled.applied,
            look_again=look if look is None or look < self.leased.row.interval else None,
            error=self.error,
        )


def _unsettled(node: instance.Instance) -> bool:
    """Its status is likely to change soon: it is coming up, or was not listed and may be gone."""
    return (node.status is status.NodeStatus.PENDING and node.ready_at is None) or node.missing_since is not None


class Recorder:
    """Writes one draft. resend: seconds after which beat sends an intent whose message was lost. batch: how many
    infrastructures travel together."""

    def __init__(
        self,
        connection: sa.Connection,
        draft: Draft,
        *,
        now: float,
        new_id: Callable[[], str],
        resend: float,
        batch: int,
    ) -> None:
        self._connection, self._draft, self._now = connection, draft, now
        self._new_id, self._resend, self._batch = new_id, resend, batch
        self._infra = draft.leased.infra
        self._epoch = draft.leased.row.attach_epoch
        # Written together at the end: one statement for each kind, however many there are.
        self._creations: dict[str, str] = {}
        self._intents: list[Mapping[str, Any]] = []
        self._told: list[tuple[str, Mapping[str, Any]]] = []

    def write(self, *, planned_for_current: bool, undisturbed: bool) -> list[instance.Operation]:
        """Write what was seen and, if the plan was made for the current generation, the intents; returns those.

        undisturbed: nobody has asked for another pass meanwhile (that one will tell whether all is ready).
        """
        versions = self._write_seen()
        intents = self._write_strays()
        if planned_for_current and self._draft.error is None and self._consume():
            for one in self._draft.delta.instructions:
                intents += self._intend(one, versions)
            self._write_ready(undisturbed)
        self._write_new()
        return intents

    def _write_new(self) -> None:
        if self._creations:
            nodes.insert(self._connection, self._infra.infra_id, self._creations, now=self._now)
        if self._intents:
            operations.insert(self._connection, self._intents)
        events.add_all(self._connection, self._infra.infra_id, self._told, now=self._now)

    def _consume(self) -> bool:
        """The requests that the plan rests on are over (guard 12); False if another pass has acted on one."""
        applied = self._draft.scaled.applied
        if not applied:
            return True
        if not requests.consume(self._connection, [one.request for one in applied]):
            return False
        infrastructures.change(self._connection, self._infra.infra_id, targets=dict(self._draft.scaled.targets))
        for one in applied:
            self._tell("scaled", node=one.request.node_name, request=one.request.text, **_became(one))
        return True

    def _write_seen(self) -> dict[str, int]:
        """Only rows of which something has changed; returns the versions of all."""
        versions = {}
        for old, new in zip(self._draft.leased.instances, self._draft.assessed, strict=False):
            versions[old.node_id] = old.version
            if new != old and nodes.observed(
                self._connection,
                old.node_id,
                old.version,
                status=new.status.value,
                reason=new.reason,
                addresses=list(new.addresses),
                ready_at=new.ready_at,
                failing_since=new.failing_since,
                missing_since=new.missing_since,
                lost_at=new.lost_at,
            ):
                versions[old.node_id] += 1
                if new.status is not old.status and new.status is status.NodeStatus.FAILED:
                    self._tell("nodefailed", node_id=new.node_id, node=new.node_name, reason=new.reason.text())
        return versions

    def _intend(self, one: instruction.Instruction, versions: Mapping[str, int]) -> list[instance.Operation]:
        match one:
            case instruction.CreateInfrastructure():
                infrastructures.change(self._connection, self._infra.infra_id, bootstrapped_at=self._now)
                self._tell("infrastart", name=self._infra.name)
                return []
            case instruction.CreateNode():
                return [self._intend_creation(one)]
            case instruction.DropNode():
                return self._intend_drop(one, versions)
            case instruction.ReplaceNode():
                self._mark(one)
                return []
            case _:
                assert_never(one)

    def _intend_creation(self, one: instruction.CreateNode) -> instance.Operation:
        node_id = self._new_id()
        self._creations[node_id] = one.node_name
        self._insert(node_id, instance.OperationKind.CREATE, one.node_name)
        self._tell("nodecreating", node_id=node_id, node=one.node_name)
        return self._message(node_id, instance.OperationKind.CREATE, one.node_name)

    def _intend_drop(self, one: instruction.DropNode, versions: Mapping[str, int]) -> list[instance.Operation]:
        named = one.node_id in self._draft.scaled.victims
        node = next(node for node in self._draft.leased.instances if node.node_id == one.node_id)
        if named:  # a user's word holds whatever has happened to it meanwhile
            current = nodes.get(self._connection, node.node_id)
            if current is None or not current.alive:
                return []
            node = current
        moved = nodes.move(
            self._connection,
            node.node_id,
            node.lifecycle,
            instance.Lifecycle.DROPPING,
            version=None if named else versions[node.node_id],
        )
        if not moved:
            return []
        operations.turn_into_drop(self._connection, node, epoch=self._epoch, now=self._now, resend=self._resend)
        self._tell("nodedropping", node_id=node.node_id, node=node.node_name, reason=one.why)
        return [self._message(node.node_id, instance.OperationKind.DROP, node.node_name)]

    def _mark(self, one: instruction.ReplaceNode) -> None:
        current = nodes.get(self._connection, one.node_id)
        if current is not None and current.alive:
            nodes.mark(self._connection, one.node_id, instance.Replacement.ASKED)
            self._tell("nodereplacing", node_id=one.node_id, node=one.node_name)

    def _write_strays(self) -> list[instance.Operation]:
        """Instances that bear a tag of ours but are not on record: each becomes a drop of its own."""
        intents = []
        by_id = {node.node_id: node for node in self._draft.leased.instances}
        for node_id, found in self._draft.strays.items():
            for stray in found:
                node = by_id[node_id]
                target = operations.stray_target(stray.instance_id, node_id)
                if operations.get(self._connection, target) is not None:
                    continue
                detail = {
                    "account": node.account,
                    "implementation": dict(node.implementation or {}),
                    "instance_id": stray.instance_id,
                    "node_id": node_id,
                }
                self._insert(target, instance.OperationKind.STRAY, node.node_name, begun=True, detail=detail)
                self._tell("nodedropping", node_id=node_id, node=node.node_name, stray=stray.instance_id)
                intents.append(self._message(target, instance.OperationKind.STRAY, node.node_name))
        return intents

    def _write_ready(self, undisturbed: bool) -> None:
        ready, since = self._draft.delta.ready and undisturbed, self._infra.ready_since
        if ready and since is None:
            infrastructures.change(self._connection, self._infra.infra_id, ready_since=self._now)
            self._join_others()
            self._tell("infraready")
        elif not ready and since is not None:
            infrastructures.change(self._connection, self._infra.infra_id, ready_since=None)

    def _join_others(self) -> None:
        """From now on it is looked at together with others of the account that most of its instances are in."""
        found = Counter(node.account for node in self._draft.assessed if node.account is not None)
        if found:
            account, _ = max(found.items(), key=lambda one: (one[1], one[0]))
            phases.join(self._connection, self._infra.infra_id, account, room=self._batch)

    def _insert(self, target: str, kind: instance.OperationKind, node_name: str, **values: Any) -> None:
        self._intents.append(
            operations.intent(
                target=target,
                infra_id=self._infra.infra_id,
                kind=kind,
                node_name=node_name,
                epoch=self._epoch,
                now=self._now,
                resend=self._resend,
                **values,
            )
        )

    def _message(self, target: str, kind: instance.OperationKind, node_name: str) -> instance.Operation:
        return instance.Operation(
            target=target, infra_id=self._infra.infra_id, kind=kind, attach_epoch=self._epoch, node_name=node_name
        )

    def _tell(self, event: str, **data: Any) -> None:
        self._told.append((event, data))


def _became(one: scaling.Applied) -> dict[str, Any]:
    """What an event says of a request that was carried out."""
    if one.after is None:
        return {"refused": "the description has no such node any more"}
    clamped = {} if one.after == one.asked else {"asked": one.asked, "clamped": "to the limits of the node"}
    return {"before": one.before, "after": one.after, **clamped}
