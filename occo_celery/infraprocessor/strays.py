"""Has an instance dropped that bears a tag of ours and is on no books. Called by the sweeps: of whole accounts
(sweep.py) and at the end of an infrastructure (teardown.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.uds import events, infrastructures, operations

#: The node of one whose name nobody knows any more.
NAMELESS = "unknown"


def intend(
    connection: sa.Connection,
    infra: infrastructures.Infrastructure,
    *,
    account: str,
    implementation: Mapping[str, Any],
    instance_id: str,
    node_id: str,
    node_name: str,
    now: float,
    resend: float,
) -> instance.Operation | None:
    """Record its drop, which is tried until the cloud does not list it any more; to be sent after the commit. None if
    it is being dropped already.

    The caller has locked the row of its infrastructure. implementation: any that leads to the account. node_name: may
    be empty. now, resend: seconds.
    """
    target, name = operations.stray_target(instance_id, node_id), node_name or NAMELESS
    if operations.get(connection, target) is not None:
        return None
    intent = instance.Operation(
        target=target,
        infra_id=infra.infra_id,
        kind=instance.OperationKind.STRAY,
        attach_epoch=infra.attach_epoch,
        node_name=name,
    )
    row = operations.intent(
        target=target,
        infra_id=infra.infra_id,
        kind=intent.kind,
        node_name=name,
        epoch=infra.attach_epoch,
        now=now,
        resend=resend,
        begun=True,
        detail={
            "account": account,
            "implementation": dict(implementation),
            "instance_id": instance_id,
            "node_id": node_id,
        },
    )
    operations.insert(connection, [row])
    events.add(connection, infra.infra_id, "nodedropping", now=now, node_id=node_id, node=name, stray=instance_id)
    return intent
