"""Rows that should not be as they are: what nobody has seen to in time, and what fails again and again.

Read by `occo doctor` only. Each question is answered with how many there are and the worst few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.uds import rows, tables

_I = tables.infrastructures
_S = tables.schedule
_O = tables.operations

#: What an operation says that only waits for its cloud; a drop looks again and again until the instance is gone.
WAITING = ("ending", "seen_gone", "settling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """Something that was to happen so many seconds ago. what: for people."""

    infra_id: str
    what: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How many there are, and the worst of them, worst first."""

    count: int
    worst: Sequence[Any]


def overdue(connection: sa.Connection, *, now: float, patience: float, few: int) -> Found:
    """Managed infrastructures whose pass nobody sent or made, and operations that nobody sent again, for longer than
    three intervals and ``patience`` seconds."""
    allowed = sa.case((3 * _S.c.interval > patience, 3 * _S.c.interval), else_=patience)
    unsent = now - _S.c.next_due
    unmade = now - sa.func.coalesce(_S.c.last_pass, _S.c.started) - _S.c.interval
    seconds = sa.case((unsent > unmade, unsent), else_=unmade)
    passes = _worst(
        connection,
        sa.select(_S.c.infra_id, _I.c.name.label("what"), seconds.label("seconds"))
        .join(_I, _I.c.infra_id == _S.c.infra_id)
        .where(_I.c.suspended.is_(False), seconds > allowed),
        few,
    )
    unsent_operations = _worst(
        connection,
        sa.select(_O.c.infra_id, _instruction().label("what"), (now - _O.c.due).label("seconds")).where(
            _O.c.due < now - patience
        ),
        few,
    )
    return _together(passes, unsent_operations, few)


def expired(connection: sa.Connection, *, now: float, patience: float, few: int) -> Found:
    """Leases that ran out more than ``patience`` seconds ago and that nobody has taken over."""
    passes = _worst(
        connection,
        sa.select(
            _I.c.infra_id,
            sa.literal("pass of ").concat(_I.c.name).label("what"),
            (now - _I.c.lease_until).label("seconds"),
        ).where(_I.c.pass_token.is_not(None), _I.c.lease_until < now - patience, _I.c.suspended.is_(False)),
        few,
    )
    held = _worst(
        connection,
        sa.select(_O.c.infra_id, _instruction().label("what"), (now - _O.c.lease_until).label("seconds")).where(
            _O.c.token.is_not(None), _O.c.lease_until < now - patience
        ),
        few,
    )
    return _together(passes, held, few)


def _instruction() -> sa.ColumnElement[str]:
    return _O.c.kind.concat(" ").concat(_O.c.node_name).concat(" (").concat(_O.c.target).concat(")")


def _worst(connection: sa.Connection, statement: sa.Select[Any], few: int) -> Found:
    every = statement.subquery()
    count = connection.execute(sa.select(sa.func.count()).select_from(every)).scalar_one()
    if not count:
        return Found(count=0, worst=())
    found = connection.execute(sa.select(every).order_by(every.c.seconds.desc()).limit(few))
    return Found(count=count, worst=[Late(**row) for row in found.mappings()])


def _together(one: Found, other: Found, few: int) -> Found:
    worst = sorted([*one.worst, *other.worst], key=lambda late: -late.seconds)
    return Found(count=one.count + other.count, worst=worst[:few])


def failing(connection: sa.Connection, *, attempts: int, few: int) -> Found:
    """Operations that failed so many times, or that wait for a change, most attempts first."""
    # A reason is only written when an attempt did not succeed; the last one tells whether it was trouble.
    trouble = sa.and_(
        _O.c.kind != instance.OperationKind.TEARDOWN.value,
        _O.c.reason_code.is_not(None),
        _O.c.reason_code.not_in(WAITING),
        sa.or_(_O.c.attempts >= attempts, sa.and_(_O.c.retry_at.is_(None), _O.c.lease_until.is_(None))),
    )
    count = connection.execute(sa.select(sa.func.count()).select_from(_O).where(trouble)).scalar_one()
    found = connection.execute(sa.select(_O).where(trouble).order_by(_O.c.attempts.desc(), _O.c.target).limit(few))
    return Found(count=count, worst=[rows.operation_of(dict(row)) for row in found.mappings()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """How the last pass of an infrastructure failed."""

    infra_id: str
    name: str
    error: str


def errors(connection: sa.Connection, *, few: int) -> Found:
    """Managed infrastructures whose last pass ended in an error."""
    wrong = sa.and_(_S.c.last_error.is_not(None), _I.c.suspended.is_(False))
    base = _S.join(_I, _I.c.infra_id == _S.c.infra_id)
    count = connection.execute(sa.select(sa.func.count()).select_from(base).where(wrong)).scalar_one()
    found = connection.execute(
        sa.select(_S.c.infra_id, _I.c.name, _S.c.last_error.label("error"))
        .select_from(base)
        .where(wrong)
        .order_by(_S.c.infra_id)
        .limit(few)
    )
    return Found(count=count, worst=[Error(**row) for row in found.mappings()])
