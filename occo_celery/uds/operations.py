"""Operations: the intents, committed before the act, and who holds them.

Each is claimed by compare-and-set with a fresh token and a lease; every later write of its holder is conditional on
that token. ``due`` is when beat sends it again, whatever became of the message or of its holder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance, status
from occo_celery.uds import accounts, rows, tables
from occo_celery.uds.sets import among, chosen

_I = tables.infrastructures
_O = tables.operations

#: Statements are made once, with parameters: making one costs more than carrying it out. The columns that an UPDATE
#: or INSERT sets are those of the parameters that bear their names.
_IS_TARGET = _O.c.target == sa.bindparam("is_target")
_IS_HELD = sa.and_(_IS_TARGET, _O.c.token == sa.bindparam("is_token"))

_AMONG = among(_O.c.target, "targets")
_ARE_HELD = sa.and_(_AMONG, _O.c.token == sa.bindparam("is_token"))

_INSERT = _O.insert()


def insert(connection: sa.Connection, operations: Sequence[Mapping[str, Any]]) -> None:
    """Record intents, made by ``intent``. The caller sends them after the commit; if that is lost, beat does."""
    connection.execute(_INSERT, list(operations))


def intent(
    *,
    target: str,
    infra_id: str,
    kind: instance.OperationKind,
    node_name: str,
    epoch: int,
    now: float,
    resend: float,
    **values: Any,
) -> Mapping[str, Any]:
    """What is to be recorded of an intent; beat sends it in ``resend`` seconds if nobody has acted on it."""
    row: dict[str, Any] = {
        "target": target,
        "infra_id": infra_id,
        "kind": kind.value,
        "node_name": node_name,
        "attach_epoch": epoch,
        "retry_at": now,
        "due": now + resend,
        "begun": False,
        "doubt_until": 0.0,
        "tried": [],
        "detail": {},
    }
    return {**row, **rows.of_table(_O, values)}


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


#: Seconds by which the clocks of two programs may differ. What is sent because its time has come is taken, though by
#: the clock of whoever takes it that is a moment ahead: passed over, it would be sent again ``resend`` later, and be
#: passed over again.
CLOCKS_DIFFER = 1.0

_NOW = sa.bindparam("now", type_=tables.Time)
_FREE = (
    sa.select(_O.c.target)
    .where(
        _AMONG,
        _O.c.kind != instance.OperationKind.TEARDOWN.value,
        sa.or_(_O.c.lease_until.is_(None), _O.c.lease_until <= _NOW),
        _O.c.retry_at <= _NOW + CLOCKS_DIFFER,
    )
    .order_by(_O.c.target)  # everybody locks them in this order
    .with_for_update()
    .cte("free")
)
_CLAIM = (
    _O.update()
    .where(chosen(_O.c.target, sa.select(_FREE.c.target)))
    .values(attempts=_O.c.attempts + 1)
    .returning(*_O.c, accounts.SHAKY.label("shaky"))
)


def claim(
    connection: sa.Connection, targets: Collection[str], *, now: float, until: float, token: str
) -> tuple[Sequence[instance.Operation], bool]:
    """Take those operations of nodes whose time has come and that nobody holds, under our token, the same for all.
    Returns them with the attempts *before* this one, and whether some account missed an answer lately."""
    parameters = {"targets": targets, "now": now, "token": token, "lease_until": until, "due": until}
    taken = [dict(row) for row in connection.execute(_CLAIM, parameters).mappings()]
    several = [
        rows.operation_of({**row, "attempts": row["attempts"] - 1})
        for row in sorted(taken, key=lambda one: str(one["target"]))
    ]
    return several, any(row["shaky"] for row in taken)


# Infrastructures first, as everybody does: no deadlocks. PostgreSQL locks rows of a join in the order of its tables.
_HOLD = (
    sa.select(_O.c.target)
    .select_from(_I.join(_O, _O.c.infra_id == _I.c.infra_id))
    .where(_ARE_HELD)
    .order_by(_I.c.infra_id, _O.c.target)
    .with_for_update(read=True)
)
_BEGUN = _O.update().where(_ARE_HELD).values(begun=True)
_HELD = _O.update().where(_IS_HELD)


def still_held(connection: sa.Connection, targets: Collection[str], holder: str) -> Collection[str]:
    """Those of these operations that are ours; nobody takes them, or changes their infrastructures, before this
    transaction ends."""
    return set(connection.execute(_HOLD, {"targets": targets, "is_token": holder}).scalars())


def begin(connection: sa.Connection, targets: Collection[str], holder: str) -> None:
    """Say of operations that we hold that from now on a cloud may have heard of them."""
    connection.execute(_BEGUN, {"targets": targets, "is_token": holder})


def doubt(connection: sa.Connection, until: Mapping[str, float], holder: str) -> None:
    """Until when calls that we are about to make may still come true, by target."""
    connection.execute(
        _HELD, [{"is_target": target, "is_token": holder, "doubt_until": when} for target, when in until.items()]
    )


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


_END = _O.delete().where(_ARE_HELD).returning(_O.c.target)
_DELETE = _O.delete().where(_IS_TARGET)


def end(connection: sa.Connection, targets: Collection[str], token: str) -> Collection[str]:
    """These operations are done; returns those that were still ours."""
    return set(connection.execute(_END, {"targets": targets, "is_token": token}).scalars())


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
    row = intent(
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
    insert(connection, [row])


#: When the next operation is to be sent; NULL when nothing waits.
NEXT_DUE = sa.select(sa.func.min(_O.c.due)).scalar_subquery()


_DUE = (
    sa.select(_O.c.target)
    .where(_O.c.due <= sa.bindparam("now"))
    .order_by(_O.c.due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_DUE = (
    _O.update()
    .where(chosen(_O.c.target, sa.select(_DUE.c.target)))
    .values(due=sa.bindparam("again"))
    .returning(*_O.c)
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
