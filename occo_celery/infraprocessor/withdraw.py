"""Takes intents back that nothing was done for yet: at detach, and when a claim finds that it comes too late."""

from __future__ import annotations

import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.uds import nodes, operations

Lifecycle = instance.Lifecycle


def withdraw(connection: sa.Connection, infra_id: str, *, now: float) -> None:
    """Detached: intents that nobody holds and that have not begun are forgotten; what has begun is hurried on.

    The caller has locked the infrastructure's row.
    """
    held = {
        one.target: one
        for one in operations.of(connection, infra_id)
        if not one.begun and (one.lease_until is None or one.lease_until <= now)
    }
    for node in nodes.of(connection, infra_id):
        operation = held.get(node.node_id)
        if operation is None:
            continue
        if operation.kind is instance.OperationKind.CREATE:
            cancel(connection, node)
        elif operation.kind is instance.OperationKind.DROP:
            keep(connection, node)
    operations.hurry(connection, infra_id, now=now)


def cancel(connection: sa.Connection, node: instance.Instance) -> None:
    """A creation that has not begun: no cloud has heard of the instance."""
    operations.delete(connection, node.node_id)
    nodes.forget(connection, node.node_id)


def keep(connection: sa.Connection, node: instance.Instance) -> bool:
    """A drop that has not begun: the instance stays, and the next pass decides about it anew.

    False if there is no instance to keep: what was never made is better dropped to the end.
    """
    if node.instance_id is None:
        return False
    operations.delete(connection, node.node_id)
    return nodes.move(connection, node.node_id, Lifecycle.DROPPING, Lifecycle.RUNNING)
