"""Takes operations: one transaction that checks that SQL still asks for the act and makes it ours.

Called by perform.py at the beginning of every instruction. What is returned is a job; None means that there is
nothing to do: done already, held by another, not yet due, or not wanted any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.infraprocessor import resolve, withdraw
from occo_celery.model import description, instance, status
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
    ) -> None:
        self._clouds, self._descriptions = clouds, descriptions
        self._new_id, self._rng, self._timing = new_id, rng, timing
        self._used: set[str] = set()

    def take(self, connection: sa.Connection, target: str, now: float) -> Job | None:
        """Take one operation, if it is there to be taken."""
        known = operations.get(connection, target)
        if known is None or known.kind is Kind.TEARDOWN:
            return None
        infra = infrastructures.hold(connection, known.infra_id)
        until = now + self._timing.lease
        operation = operations.claim(connection, target, now=now, until=until, token=self._new_id())
        if operation is None:
            return None
        # A call ends by its own time-out well inside the lease; one that would not is not sent (guard 4).
        send_until = until - 2 * self._timing.call
        if operation.kind is Kind.STRAY:
            return StrayJob(operation=operation, send_until=send_until)
        node = nodes.get(connection, target)
        assert node is not None, f"operation {target} has no node"
        if operation.kind is Kind.CREATE:
            return self._take_create(connection, infra, operation, node, now=now, send_until=send_until)
        return self._take_drop(connection, infra, operation, node, send_until=send_until)

    def _take_create(
        self,
        connection: sa.Connection,
        infra: infrastructures.Infrastructure,
        operation: instance.Operation,
        node: instance.Instance,
        *,
        now: float,
        send_until: float,
    ) -> Job | None:
        desired = self._descriptions.one(connection, infra)
        if not _managed(infra, operation) or node.node_name not in desired.node_lookup:
            return self._undo(connection, operation, node, send_until=send_until)
        if operation.begun:
            return CreateJob(operation=operation, node=node, desired=desired, first=False, send_until=send_until)
        # Guard 3: between plan and claim a dependee may have gone. The next pass plans anew.
        instances = nodes.of(connection, infra.infra_id)
        if plan.missing_dependee(desired, node.node_name, plan.ready_counts(instances), infra.targets):
            withdraw.cancel(connection, node)
            return None
        node = self._begin(connection, operation, node, desired, instances, now=now)
        return CreateJob(operation=operation, node=node, desired=desired, first=True, send_until=send_until)

    def _begin(
        self,
        connection: sa.Connection,
        operation: instance.Operation,
        node: instance.Instance,
        desired: description.StaticDescription,
        instances: Any,
        *,
        now: float,
    ) -> instance.Instance:
        """Freeze the choice of implementation and inputs (guard 6), before anything is sent.

        A node for which nothing can be chosen keeps no implementation: create.py reports why.
        """
        wanted = desired.node_lookup[node.node_name]
        implementations = definitions.load(connection, [wanted.type]).get(wanted.type, [])
        try:
            position = resolve.choose(wanted, implementations, operation.tried, self._rng)
            implementation = implementations[position]
            account = self._clouds.account(implementation["resource"])
        except (errors.PermanentError, errors.PluginError):
            return node
        frozen: dict[str, Any] = {
            "implementation": implementation,
            "position": position,
            "account": account,
            "inputs": resolve.inputs(desired, wanted, instances),
            "called_at": now,
        }
        reason = status.Reason(code="creating", arguments={"account": account}, since=now)
        moved = nodes.move(connection, node.node_id, Lifecycle.PLANNED, Lifecycle.CREATING, reason=reason, **frozen)
        assert moved, f"node {node.node_id} is {node.lifecycle}, its creation was not begun"
        node = replace(node, lifecycle=Lifecycle.CREATING, version=node.version + 1, **frozen)
        operations.held(connection, node.node_id, operation.token or "", begun=True)
        self._use(connection, account, implementation, now)
        return node

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
        self,
        connection: sa.Connection,
        infra: infrastructures.Infrastructure,
        operation: instance.Operation,
        node: instance.Instance,
        *,
        send_until: float,
    ) -> Job | None:
        ending = infra.phase is instance.Phase.TEARING_DOWN
        if not (ending or operation.begun or _managed(infra, operation)) and withdraw.keep(connection, node):
            return None
        operations.held(connection, node.node_id, operation.token or "", begun=True)
        return DropJob(operation=operation, node=node, send_until=send_until)


def _managed(infra: infrastructures.Infrastructure, operation: instance.Operation) -> bool:
    """Managed, not suspended, and by the attach that the operation was planned under: detach raises the epoch."""
    return (
        infra.phase is instance.Phase.SUBMITTED
        and not infra.suspended
        and infra.attach_epoch == operation.attach_epoch
    )
