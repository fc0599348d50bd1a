"""Rows become values of the model here, and values rows; nobody else knows the columns of a reason, or which go
together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance, status
from occo_celery.uds import tables


def of_table(table: sa.Table, values: dict[str, Any]) -> dict[str, Any]:
    """Values to be set, as parameters of a statement. Raises KeyError for one that is no column of the table's:
    SQLAlchemy takes no notice of such parameters."""
    for name in values:
        table.c[name]
    return values


def hash_of(text: str) -> str:
    """What stands for a text by which rows are told apart."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def implementation_columns(implementation: Mapping[str, Any] | None) -> dict[str, Any]:
    if implementation is None:
        return {"implementation": None, "implementation_hash": None}
    text = json.dumps(implementation, sort_keys=True)
    return {"implementation": dict(implementation), "implementation_hash": hash_of(text)}


def reason_columns(reason: status.Reason) -> dict[str, Any]:
    return {
        "reason_code": reason.code,
        "reason_arguments": dict(reason.arguments),
        "reason_since": reason.since,
    }


def reason_of(row: Mapping[str, Any], prefix: str = "") -> status.Reason | None:
    code = row[prefix + "reason_code"]
    if code is None:
        return None
    return status.Reason(
        code=code, arguments=row[prefix + "reason_arguments"] or {}, since=row[prefix + "reason_since"] or 0.0
    )


#: What a node instance is read from: its row and the operation that holds it, if any.
INSTANCE = sa.select(
    *(column for column in tables.nodes.c if column.name not in ("inputs", "implementation_hash")),
    sa.cast(tables.nodes.c.inputs, sa.Text).label("inputs"),
    tables.operations.c.attempts.label("operation_attempts"),
    tables.operations.c.retry_at.label("operation_retry_at"),
    tables.operations.c.target.label("operation_target"),
    tables.operations.c.lease_until.label("operation_lease_until"),
).select_from(tables.nodes.outerjoin(tables.operations, tables.operations.c.target == tables.nodes.c.node_id))


def instance_of(row: Mapping[str, Any]) -> instance.Instance:
    """An instance from a row of INSTANCE."""
    reason = reason_of(row)
    assert reason is not None
    attempts = row["operation_attempts"] or 0
    put_off = attempts > 0 or reason.code == "account_silent"
    return instance.Instance(
        node_id=row["node_id"],
        infra_id=row["infra_id"],
        node_name=row["node_name"],
        lifecycle=instance.Lifecycle(row["lifecycle"]),
        status=status.NodeStatus(row["status"]),
        reason=reason,
        version=row["version"],
        created_at=row["created_at"],
        account=row["account"],
        instance_id=row["instance_id"],
        addresses=tuple(row["addresses"]),
        implementation=row["implementation"],
        position=row["position"],
        inputs=row["inputs"],
        context_hash=row["context_hash"],
        called_at=row["called_at"],
        ready_at=row["ready_at"],
        failing_since=row["failing_since"],
        missing_since=row["missing_since"],
        lost_at=row["lost_at"],
        outdated=None if row["outdated"] is None else instance.Replacement(row["outdated"]),
        attempts=attempts,
        waiting=row["operation_target"] is not None and put_off and row["operation_lease_until"] is None,
    )


def operation_of(row: Mapping[str, Any]) -> instance.Operation:
    return instance.Operation(
        target=row["target"],
        infra_id=row["infra_id"],
        kind=instance.OperationKind(row["kind"]),
        node_name=row["node_name"],
        attach_epoch=row["attach_epoch"],
        token=row["token"],
        lease_until=row["lease_until"],
        attempts=row["attempts"],
        retry_at=row["retry_at"],
        due=row["due"],
        begun=row["begun"],
        doubt_until=row["doubt_until"],
        absent_since=row["absent_since"],
        stage=row["stage"],
        tried=tuple(row["tried"]),
        reason=reason_of(row),
        detail=row["detail"],
    )
