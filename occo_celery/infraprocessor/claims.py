"""Takes operations: one transaction that checks that SQL still asks for the acts and makes them ours.

Called by perform.py with the set that a message carries. What is returned are jobs; there is none for an operation
that is done already, held by another, not yet due, or not wanted any more.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.infraprocessor import resolve, withdraw
from occo_celery.infraprocessor.budgets import Gate
from occo_celery.model import budget, description, instance, status
from occo_celery.planner import plan
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import accounts as used
from occo_celery.uds import definitions, infrastructures, nodes, operations

Kind = instance.OperationKind
Lifecycle = instance.Lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. lease: of an operation; call: a cloud call's time-out, at most a third of the lease;
    resend: after which a lost message is sent again; sweep: from one look through an account to the next."""

    lease: float
    call: float
    resend: float
    sweep: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJob:
    """A claimed creation. first: no call of it was ever sent before; send_until: not to be sent after."""

    operation: instance.Operation
    node: instance.Instance
    desired: description.StaticDescription
    first: bool
    send_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DropJob:
    operation: instance.Operation
    node: instance.Instance
    send_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayJob:
    operation: instance.Operation
    send_until: float


Job = CreateJob | DropJob | StrayJob


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What the operations of one infrastructure are judged by, read once for all of a set.

    instances: those that the operations are about, and all of the nodes that these depend on. send_until: of each.
    """

    infra: infrastructures.Infrastructure
    desired: description.StaticDescription
    instances: Mapping[str, instance.Instance]
    ready: Mapping[str, int]
    send_until: float


class Claims:
    """Claims operations. All that it needs is handed in: see wiring.py."""

    def __init__(
        self,
        clouds: accounts.Clouds,
        descriptions: infrastructures.Descriptions,
        *,
        new_id: Callable[[], str],
        rng: random.Random,
        timing: Timing,
        budgets: Sequence[budget.Budget] = (),
    ) -> None:
        self._clouds, self._descriptions, self._budgets = clouds, descriptions, budgets
        self._new_id, self._rng, self._timing = new_id, rng, timing
        self._used: set[str] = set()

    def take(self, connection: sa.Connection, targets: Collection[str], now: float) -> Sequence[Job]:
        """Take the operations of these targets that are there to be taken; what is taken together has one token."""
        known = [one for one in operations.several(connection, targets) if one.kind is not Kind.TEARDOWN]
        infras = {one: infrastructures.hold(connection, one) for one in sorted({one.infra_id for one in known})}
        until = now + self._timing.lease
        taken = operations.claim(
            connection, [one.target for one in known], now=now, until=until, token=self._new_id()
        )
        # A call ends by its own time-out well inside the lease; one that would not is not sent (guard 4).
        send_until = until - 2 * self._timing.call
        gate = Gate(self._budgets, connection, now)
        gate.open(taken)
        jobs: list[Job] = []
        for infra_id, infra in infras.items():
            some = [one for one in taken if one.infra_id == infra_id]
            strays = [one for one in some if one.kind is Kind.STRAY and gate.admits(one, one.detail["account"])]
            jobs += [StrayJob(operation=one, send_until=send_until) for one in strays]
            if any(one.kind is not Kind.STRAY for one in some):
                scene = self._scene(connection, infra, some, send_until)
                drops = (self._take_drop(connection, scene, one, gate) for one in some if one.kind is Kind.DROP)
                jobs += [one for one in drops if one is not None]
                creations = [one for one in some if one.kind is Kind.CREATE]
                jobs += self._take_creates(connection, scene, creations, gate)
        gate.close()
        return jobs

    def _scene(
        self,
        connection: sa.Connection,
        infra: infrastructures.Infrastructure,
        some: Sequence[instance.Operation],
        send_until: float,
    ) -> _Scene:
        desired = self._descriptions.one(connection, infra)
        creating = {one.node_name for one in some if one.kind is Kind.CREATE} & desired.node_lookup.keys()
        needed = {name for one in creating for name in resolve.dependees(desired, one)}
        instances = nodes.some(connection, infra.infra_id, names=needed, node_ids=[one.target for one in some])
        return _Scene(
            infra=infra,
            desired=desired,
            instances={one.node_id: one for one in instances},
            ready=plan.ready_counts(instances),
            send_until=send_until,
        )

    def _take_creates(
        self, connection: sa.Connection, scene: _Scene, some: Sequence[instance.Operation], gate: Gate
    ) -> Sequence[Job]:
        jobs: list[Job] = []
        fresh: list[instance.Operation] = []
        for operation in some:
            node = scene.instances[operation.target]
            if not _managed(scene.infra, operation) or node.node_name not in scene.desired.node_lookup:
                undone = self._undo(connection, operation, node, send_until=scene.send_until)
                jobs += [] if undone is None else [undone]
            elif operation.begun:
                if gate.admits(operation, node.account or "", node):
                    jobs.append(_creation(scene, operation, node, first=False))
            # Guard 3: between plan and claim a dependee may have gone. The next pass plans anew.
            elif _missing(scene, node.node_name):
                withdraw.cancel(connection, node)
            else:
                fresh.append(operation)
        begun = self._begin(connection, scene, fresh, gate) if fresh else []
        return [*jobs, *begun]

    def _begin(
        self, connection: sa.Connection, scene: _Scene, some: Sequence[instance.Operation], gate: Gate
    ) -> Sequence[CreateJob]:
        """Freeze the choice of implementation and inputs (guard 6), before anything is sent.

        A node for which nothing can be chosen keeps no implementation: create.py reports why.
        """
        desired = scene.desired
        types = {desired.node_lookup[scene.instances[one.target].node_name].type for one in some}
        known = definitions.load(connection, types)
        now = gate.now
        frozen: dict[str, dict[str, Any]] = {}
        admitted: list[instance.Operation] = []
        for operation in some:
            node = scene.instances[operation.target]
            chosen = self._choose(scene, operation, node, known, now)
            if chosen is None or gate.admits(operation, chosen["account"], node):
                admitted.append(operation)
                if chosen is not None:
                    frozen[operation.target] = chosen
        if frozen:
            nodes.move_all(connection, Lifecycle.PLANNED, Lifecycle.CREATING, frozen)
            operations.begin(connection, frozen.keys(), some[0].token or "")
        jobs = []
        for operation in admitted:
            node = scene.instances[operation.target]
            if (chosen := frozen.get(operation.target)) is not None:
                self._use(connection, chosen["account"], chosen["implementation"], now)
                stored = {**chosen, "inputs": json.dumps(chosen["inputs"])}
                node = replace(node, lifecycle=Lifecycle.CREATING, version=node.version + 1, **stored)
            jobs.append(_creation(scene, operation, node, first=True))
        return jobs

    def _choose(
        self,
        scene: _Scene,
        operation: instance.Operation,
        node: instance.Instance,
        known: Mapping[str, Sequence[Mapping[str, Any]]],
        now: float,
    ) -> dict[str, Any] | None:
        """What is frozen of one creation; None if nothing can be chosen."""
        assert node.lifecycle is Lifecycle.PLANNED, f"node {node.node_id} is {node.lifecycle}, and its creation new"
        wanted = scene.desired.node_lookup[node.node_name]
        implementations = known.get(wanted.type, [])
        try:
            position = resolve.choose(wanted, implementations, operation.tried, self._rng)
            implementation = implementations[position]
            account = self._clouds.account(implementation["resource"])
        except (errors.PermanentError, errors.PluginError):
            return None
        return {
            "implementation": implementation,
            "position": position,
            "account": account,
            "inputs": resolve.inputs(scene.desired, wanted, scene.instances.values()),
            "called_at": now,
            "reason": status.Reason(code="creating", arguments={"account": account}, since=now),
        }

    def _use(self, connection: sa.Connection, account: str, implementation: Mapping[str, Any], now: float) -> None:
        """Put an account on the books before anything is made on it: a node that goes elsewhere forgets it, the
        sweep must not. It is only kept in mind once it was seen there: this transaction may yet be rolled back."""
        if account not in self._used:
            if used.is_used(connection, account):
                self._used.add(account)
            else:
                used.use(connection, account, implementation, sweep_due=now + self._timing.sweep)

    def _undo(
        self,
        connection: sa.Connection,
        operation: instance.Operation,
        node: instance.Instance,
        *,
        send_until: float,
    ) -> Job | None:
        """Not managed any more (guard 2): what has begun is undone, what has not is forgotten."""
        if not operation.begun:
            withdraw.cancel(connection, node)
            return None
        nodes.move(connection, node.node_id, Lifecycle.CREATING, Lifecycle.DROPPING)
        operations.held(connection, node.node_id, operation.token or "", kind=Kind.DROP.value, attempts=1)
        operation = replace(operation, kind=Kind.DROP, attempts=0)
        return DropJob(operation=operation, node=node, send_until=send_until)

    def _take_drop(
        self, connection: sa.Connection, scene: _Scene, operation: instance.Operation, gate: Gate
    ) -> Job | None:
        node, ending = scene.instances[operation.target], scene.infra.phase is instance.Phase.TEARING_DOWN
        if not (ending or operation.begun or _managed(scene.infra, operation)) and withdraw.keep(connection, node):
            return None
        if node.account is not None and not gate.admits(operation, node.account):
            return None
        operations.begin(connection, [node.node_id], operation.token or "")
        return DropJob(operation=operation, node=node, send_until=scene.send_until)


def _missing(scene: _Scene, node_name: str) -> status.Reason | None:
    """What a creation has to wait for, as its plan saw it: see planner/plan.py."""
    dependee = plan.missing_dependee(scene.desired, node_name, scene.ready, scene.infra.targets)
    attribute = plan.missing_attribute(scene.desired, node_name, scene.instances.values())
    return dependee or attribute


def _creation(scene: _Scene, operation: instance.Operation, node: instance.Instance, *, first: bool) -> CreateJob:
    return CreateJob(operation=operation, node=node, desired=scene.desired, first=first, send_until=scene.send_until)


def _managed(infra: infrastructures.Infrastructure, operation: instance.Operation) -> bool:
    """Managed, not suspended, and by the attach that the operation was planned under: detach raises the epoch."""
    return (
        infra.phase is instance.Phase.SUBMITTED
        and not infra.suspended
        and infra.attach_epoch == operation.attach_epoch
    )
