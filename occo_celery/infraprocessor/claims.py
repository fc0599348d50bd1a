"""Takes operations: one transaction that checks that SQL still asks for the acts and makes them ours.

Called by perform.py with the set that a message carries. What is returned are jobs; there is none for an operation
that is done already, held by another, not yet due, or not wanted any more.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from occo_celery.infraprocessor import budgets as gates
from occo_celery.infraprocessor import resolve, withdraw
from occo_celery.infraprocessor.hearing import Hearing
from occo_celery.model import budget, description, instance, status
from occo_celery.planner import plan
from occo_celery.plugins import unexpected
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import accounts as used
from occo_celery.uds import definitions, infrastructures, nodes, operations

log = logging.getLogger(__name__)
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
    """A claimed creation. first: no call of it was ever sent before; send_until: not to be sent after; ask: whether
    its account answers is to be seen before anything is made there."""

    operation: instance.Operation
    node: instance.Instance
    desired: description.StaticDescription
    first: bool
    send_until: float
    ask: bool = False


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
class Taken:
    """may_be_lost: nothing rests on the claim until the last look at its creations is committed (create.py). If it is
    lost before, that finds that they are not ours, and nothing has happened."""

    jobs: Sequence[Job] = ()
    may_be_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish(gates.Wish):
    """job: what is to be done if it may begin. chosen: what is frozen of a creation then."""

    job: Job
    chosen: Mapping[str, Any] | None = None


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
        hearing: Hearing,
        budgets: Sequence[budget.Budget] = (),
    ) -> None:
        self._clouds, self._descriptions, self._budgets, self._hearing = clouds, descriptions, budgets, hearing
        self._new_id, self._rng, self._timing = new_id, rng, timing
        self._used: set[str] = set()

    def take(self, connection: sa.Connection, targets: Collection[str], now: float) -> Taken:
        """Take the operations of these targets that are there to be taken; what is taken together has one token."""
        infras = infrastructures.hold_of(connection, targets)  # first, as everybody does: no deadlocks
        until, token = now + self._timing.lease, self._new_id()
        taken, shaky = operations.claim(connection, targets, now=now, until=until, token=token)
        if not taken:
            return Taken()
        # A call ends by its own time-out well inside the lease; one that would not is not sent (guard 4).
        send_until = until - 2 * self._timing.call
        gate = gates.Gate(self._budgets, connection, now, shaky=shaky)
        self._hearing.suspect(gate.shaky)
        wishes = [_stray(one, send_until) for one in taken if one.kind is Kind.STRAY]
        for infra_id, infra in infras.items():
            some = [one for one in taken if one.infra_id == infra_id and one.kind is not Kind.STRAY]
            if some:
                scene = self._scene(connection, infra, some, send_until)
                wishes += self._drops(connection, scene, [one for one in some if one.kind is Kind.DROP])
                wishes += self._creations(connection, scene, [one for one in some if one.kind is Kind.CREATE], gate)
        new = self._new_accounts(connection, wishes)
        admitted = gate.admit(wishes, new)
        self._begin(connection, admitted, new, token, now)
        jobs = [one.job for one in admitted]
        # Once it was seen that an account is on the books, that is kept in mind: so it must last.
        return Taken(jobs=jobs, may_be_lost=bool(jobs) and not new and all(map(_unheard, jobs)))

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

    def _creations(
        self, connection: sa.Connection, scene: _Scene, some: Sequence[instance.Operation], gate: gates.Gate
    ) -> Sequence[_Wish]:
        wishes: list[_Wish] = []
        fresh: list[instance.Operation] = []
        for operation in some:
            node = scene.instances[operation.target]
            if not _managed(scene.infra, operation) or node.node_name not in scene.desired.node_lookup:
                wishes += self._undo(connection, operation, node, send_until=scene.send_until)
            elif operation.begun:
                wishes.append(_creation(scene, operation, node, gate))
            # Guard 3: between plan and claim a dependee may have gone. The next pass plans anew.
            elif _missing(scene, node.node_name):
                withdraw.cancel(connection, node)
            else:
                fresh.append(operation)
        if fresh:
            names = {scene.instances[one.target].node_name for one in fresh}
            known = definitions.load(connection, {scene.desired.node_lookup[name].type for name in names})
            failed = self._failed_lately(connection, scene, names, known, gate.now)
            for one in fresh:
                node = scene.instances[one.target]
                # those that it has tried itself come last of all
                tried = (*failed.get(node.node_name, ()), *one.tried)
                wishes.append(self._choose(scene, one, node, known, gate, tried))
        return wishes

    def _failed_lately(
        self,
        connection: sa.Connection,
        scene: _Scene,
        names: Collection[str],
        known: Mapping[str, Sequence[Mapping[str, Any]]],
        now: float,
    ) -> Mapping[str, Sequence[int]]:
        """By node name: positions of the implementations that instances were lost with lately, where there are
        others. Some clouds say only of what they have accepted that there is no room for it."""
        implementations = {name: known.get(scene.desired.node_lookup[name].type, ()) for name in names}
        several = [name for name, some in implementations.items() if len(some) > 1]
        if not several:
            return {}
        lost = nodes.failed_with(connection, scene.infra.infra_id, several, since=now - gates.HEALING)
        return {
            name: [implementations[name].index(one) for one in some if one in implementations[name]]
            for name, some in lost.items()
        }

    def _choose(
        self,
        scene: _Scene,
        operation: instance.Operation,
        node: instance.Instance,
        known: Mapping[str, Sequence[Mapping[str, Any]]],
        gate: gates.Gate,
        tried: Sequence[int],
    ) -> _Wish:
        """What would be frozen of one creation. A node for which nothing can be chosen keeps no implementation:
        create.py reports why."""
        assert node.lifecycle is Lifecycle.PLANNED, f"node {node.node_id} is {node.lifecycle}, and its creation new"
        wanted = scene.desired.node_lookup[node.node_name]
        implementations = known.get(wanted.type, [])
        found: tuple[int, str] | None = None
        positions = resolve.order(wanted, implementations, tried, self._rng)
        # What is being prepared is made where that goes on.
        for position in sorted(positions, key=lambda one: one != node.position):
            account = self._account(node, implementations[position])
            if account is not None and not gate.avoids(account):
                found = position, account
                break
            if account is not None and found is None:
                found = position, account  # if all are silent, it waits for the first of them
        if found is None:
            return _creation(scene, operation, node, gate)
        position, account = found
        chosen = {
            "implementation": implementations[position],
            "position": position,
            "account": account,
            "inputs": resolve.inputs(scene.desired, wanted, scene.instances.values()),
            "called_at": gate.now,
            "reason": status.Reason(code="creating", arguments={"account": account}, since=gate.now),
        }
        return _creation(scene, operation, node, gate, chosen)

    def _account(self, node: instance.Instance, implementation: Mapping[str, Any]) -> str | None:
        """Where an implementation leads to; None if its handler cannot tell."""
        try:
            return self._clouds.account(implementation["resource"])
        except Exception as problem:  # noqa: BLE001  # one section that nobody understands stops no other
            kind = implementation["resource"].get("type")
            unexpected.logged(log, f"create_node {node.node_id}: the account of a resource of type {kind!r}", problem)
            return None

    def _new_accounts(self, connection: sa.Connection, wishes: Sequence[_Wish]) -> Mapping[str, Mapping[str, Any]]:
        """Accounts that are to be put on the books, with what leads there, before anything is made on them: a node
        that goes elsewhere forgets its account, the sweep must not. One is only kept in mind once it was seen there:
        this transaction may yet be rolled back."""
        new = {}
        for account, chosen in {one.account: one.chosen for one in wishes if one.chosen is not None}.items():
            if account is not None and account not in self._used:
                if used.is_used(connection, account):
                    self._used.add(account)
                else:
                    new[account] = chosen["implementation"]
        return new

    def _begin(
        self,
        connection: sa.Connection,
        admitted: Sequence[_Wish],
        new: Mapping[str, Mapping[str, Any]],
        token: str,
        now: float,
    ) -> None:
        """Freeze the choices of implementations and inputs (guard 6), and say of all that they have begun, before
        anything is sent."""
        frozen = {one.operation.target: one.chosen for one in admitted if one.chosen is not None}
        if frozen:
            nodes.move_all(connection, Lifecycle.PLANNED, Lifecycle.CREATING, frozen)
        drops = [one.operation.target for one in admitted if isinstance(one.job, DropJob)]
        operations.begin(connection, [*drops, *frozen], token)
        for account in {one.account for one in admitted if one.chosen is not None} & new.keys():
            assert account is not None
            used.use(connection, account, new[account], sweep_due=now + self._timing.sweep)

    def _undo(
        self,
        connection: sa.Connection,
        operation: instance.Operation,
        node: instance.Instance,
        *,
        send_until: float,
    ) -> Sequence[_Wish]:
        """Not managed any more (guard 2): what has begun is undone, what has not is forgotten."""
        if not operation.begun:
            withdraw.cancel(connection, node)
            return ()
        nodes.move(connection, node.node_id, Lifecycle.CREATING, Lifecycle.DROPPING)
        operations.held(connection, node.node_id, operation.token or "", kind=Kind.DROP.value, attempts=1)
        return (_drop(replace(operation, kind=Kind.DROP, attempts=0), node, send_until),)

    def _drops(self, connection: sa.Connection, scene: _Scene, some: Sequence[instance.Operation]) -> Sequence[_Wish]:
        wishes, ending = [], scene.infra.phase is instance.Phase.TEARING_DOWN
        for operation in some:
            node = scene.instances[operation.target]
            wanted = ending or operation.begun or _managed(scene.infra, operation)
            if wanted or not withdraw.keep(connection, node):
                wishes.append(_drop(operation, node, scene.send_until))
        return wishes


def _missing(scene: _Scene, node_name: str) -> status.Reason | None:
    """What a creation has to wait for, as its plan saw it: see planner/plan.py."""
    dependee = plan.missing_dependee(scene.desired, node_name, scene.ready, scene.infra.targets)
    attribute = plan.missing_attribute(scene.desired, node_name, scene.instances.values())
    return dependee or attribute


def _creation(
    scene: _Scene,
    operation: instance.Operation,
    node: instance.Instance,
    gate: gates.Gate,
    chosen: Mapping[str, Any] | None = None,
) -> _Wish:
    """chosen: what is frozen when it begins; without it that has been done, or nothing could be chosen."""
    frozen, account = node, node.account
    if chosen is not None:
        account = chosen["account"]
        stored = {**chosen, "inputs": json.dumps(chosen["inputs"])}
        frozen = replace(node, lifecycle=Lifecycle.CREATING, version=node.version + 1, **stored)
    job = CreateJob(
        operation=operation,
        node=frozen,
        desired=scene.desired,
        first=not operation.begun,
        send_until=scene.send_until,
        ask=account in gate.shaky,
    )
    return _Wish(operation=operation, account=account, node=node, job=job, chosen=chosen)


def _drop(operation: instance.Operation, node: instance.Instance, send_until: float) -> _Wish:
    job = DropJob(operation=operation, node=node, send_until=send_until)
    return _Wish(operation=operation, account=node.account, job=job)


def _unheard(job: Job) -> bool:
    """Nobody outside is told of it before its last look. A config manager would be."""
    return isinstance(job, CreateJob) and not (job.node.implementation or {}).get("config_management")


def _stray(operation: instance.Operation, send_until: float) -> _Wish:
    job = StrayJob(operation=operation, send_until=send_until)
    return _Wish(operation=operation, account=operation.detail["account"], job=job)


def _managed(infra: infrastructures.Infrastructure, operation: instance.Operation) -> bool:
    """Managed, not suspended, and by the attach that the operation was planned under: detach raises the epoch."""
    return (
        infra.phase is instance.Phase.SUBMITTED
        and not infra.suspended
        and infra.attach_epoch == operation.attach_epoch
    )
