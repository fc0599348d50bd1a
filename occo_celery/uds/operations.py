"""Operations: the intents, committed before the act, and who holds them.

Each is claimed by compare-and-set with a fresh token and a lease; every later write of its holder is conditional on
that token. ``due`` is when beat sends it again, whatever became of the message or of its holder.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance, status
from occo_celery.uds import rows, tables

_O = tables.operations

#: Statements are made once, with parameters: making one costs more than carrying it out. The columns that an UPDATE
#: or INSERT sets are those of the parameters that bear their names.
_IS_TARGET = _O.c.target == sa.bindparam("is_target")
_IS_HELD = sa.and_(_IS_TARGET, _O.c.token == sa.bindparam("is_token"))

_INSERT = _O.insert()


def insert(
    connection: sa.Connection,
    *,
    target: str,
    infra_id: str,
    kind: instance.OperationKind,
    node_name: str,
    epoch: int,
    now: float,
    resend: float,
    **values: Any,
) -> None:
    """Record an intent. The caller sends it after the commit; if that is lost, beat does, in ``resend`` seconds."""
    row: dict[str, Any] = {
        "target": target,
        "infra_id": infra_id,
        "kind": kind.value,
        "node_name": node_name,
        "attach_epoch": epoch,
        "retry_at": now,
        "due": now + resend,
        "tried": [],
        "detail": {},
    }
    connection.execute(_INSERT, {**row, **rows.of_table(_O, values)})


def stray_target(instance_id: str, node_id: str) -> str:
    """The target of an operation that drops an instance which bears a node_id of ours but is not on record."""
    return f"stray:{instance_id}:{node_id}"[:255]


_GET = sa.select(_O).where(_IS_TARGET)
_OF = sa.select(_O).where(_O.c.infra_id == sa.bindparam("infra_id")).order_by(_O.c.target)


def get(connection: sa.Connection, target: str) -> instance.Operation | None:
    row = connection.execute(_GET, {"is_target": target}).mappings().first()
    return None if row is None else rows.operation_of(dict(row))


def of(connection: sa.Connection, infra_id: str) -> Sequence[instance.Operation]:
    found = connection.execute(_OF, {"infra_id": infra_id})
    return [rows.operation_of(dict(row)) for row in found.mappings()]


_TAKE = _GET.with_for_update()
_CLAIM = _O.update().where(_IS_TARGET).values(attempts=_O.c.attempts + 1)


def claim(
    connection: sa.Connection, target: str, *, now: float, until: float, token: str
) -> instance.Operation | None:
    """Take an operation whose time has come and that nobody holds. Returns it as it was *before* the claim (but
    with our token), None if there is nothing to take."""
    row = connection.execute(_TAKE, {"is_target": target}).mappings().first()
    if row is None or row["retry_at"] is None or row["retry_at"] > now:
        return None
    if row["lease_until"] is not None and row["lease_until"] > now:
        return None
    connection.execute(_CLAIM, {"is_target": target, "token": token, "lease_until": until, "due": until})
    return rows.operation_of({**row, "token": token})


_HOLD = sa.select(_O.c.target).where(_IS_HELD).with_for_update()
_HELD = _O.update().where(_IS_HELD)


def is_held(connection: sa.Connection, target: str, holder: str) -> bool:
    """True while the operation is ours; nobody takes it before this transaction ends."""
    return connection.execute(_HOLD, {"is_target": target, "is_token": holder}).first() is not None


def held(connection: sa.Connection, target: str, holder: str, **values: Any) -> bool:
    """Write to an operation that we still hold; False if it was taken over, replaced or has ended."""
    where = {"is_target": target, "is_token": holder}
    return connection.execute(_HELD, {**where, **rows.of_table(_O, values)}).rowcount == 1


def give_back(
    connection: sa.Connection,
    target: str,
    token: str,
    *,
    retry_at: float | None,
    reason: status.Reason | None,
    **values: Any,
) -> bool:
    """Let go of an operation until retry_at (None: until a change asks for it again)."""
    if reason is not None:
        values.update(rows.reason_columns(reason))
    return held(connection, target, token, token=None, lease_until=None, retry_at=retry_at, due=retry_at, **values)


_END = _O.delete().where(_IS_HELD)
_DELETE = _O.delete().where(_IS_TARGET)


def end(connection: sa.Connection, target: str, token: str) -> bool:
    """The operation is done; False if it was not ours any more."""
    return connection.execute(_END, {"is_target": target, "is_token": token}).rowcount == 1


def delete(connection: sa.Connection, target: str) -> None:
    """Take an intent back, whoever held it; its holder's next write is refused."""
    connection.execute(_DELETE, {"is_target": target})


def turn_into_drop(
    connection: sa.Connection, node: instance.Instance, *, epoch: int, now: float, resend: float
) -> None:
    """Ask for the end of an instance, taking it from whoever was at it.

    What a creation knew of calls that may still come true (doubt_until) is kept: the drop waits for them, and is
    to be gone through with even when nothing is managed any more.
    """
    before = get(connection, node.node_id)
    delete(connection, node.node_id)
    insert(
        connection,
        target=node.node_id,
        infra_id=node.infra_id,
        kind=instance.OperationKind.DROP,
        node_name=node.node_name,
        epoch=epoch,
        now=now,
        resend=resend,
        begun=node.lifecycle is instance.Lifecycle.CREATING,
        doubt_until=before.doubt_until if before is not None else 0.0,
    )


_NEXT_DUE = sa.select(sa.func.min(_O.c.due))


def next_due(connection: sa.Connection) -> float | None:
    """When the next operation is to be sent; None when nothing waits."""
    return connection.execute(_NEXT_DUE).scalar()


_DUE = (
    sa.select(_O.c.target)
    .where(_O.c.due <= sa.bindparam("now"))
    .order_by(_O.c.due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_DUE = (
    _O.update().where(_O.c.target.in_(sa.select(_DUE.c.target))).values(due=sa.bindparam("again")).returning(*_O.c)
)


def claim_due(connection: sa.Connection, *, now: float, limit: int, resend: float) -> Sequence[instance.Operation]:
    """Operations that beat should send (again); each is put off by ``resend`` seconds, so that beats share them."""
    found = connection.execute(_CLAIM_DUE, {"now": now, "most": limit, "again": now + resend})
    return [rows.operation_of(dict(row)) for row in found.mappings()]


def reconsider(connection: sa.Connection, *, now: float, infra_id: str | None = None) -> int:
    """Definitions (or the description of one infrastructure) have changed: creations that wait for a change are tried
    again. Returns how many."""
    waiting = _O.update().where(_O.c.kind == instance.OperationKind.CREATE.value, _O.c.retry_at.is_(None))
    if infra_id is not None:
        waiting = waiting.where(_O.c.infra_id == infra_id)
    return connection.execute(waiting.values(retry_at=now, due=now, tried=[])).rowcount


def retry(connection: sa.Connection, targets: Collection[str], *, now: float) -> None:
    """Let operations that nobody holds be tried now, from the first implementation on."""
    connection.execute(
        _O.update()
        .where(_O.c.target.in_(list(targets)), _O.c.lease_until.is_(None))
        .values(retry_at=now, due=now, tried=[])
    )


def retoken(connection: sa.Connection, target: str, token: str) -> None:
    """Give a teardown to a new chain; the links of the old one find that their token is not current."""
    connection.execute(_O.update().where(_O.c.target == target).values(token=token))


def hurry(connection: sa.Connection, infra_id: str, *, now: float) -> None:
    """Let all that has begun and waits for its time be tried at once."""
    connection.execute(
        _O.update()
        .where(_O.c.infra_id == infra_id, _O.c.lease_until.is_(None), _O.c.begun)
        .values(retry_at=now, due=now)
    )
