"""The schedule: one row a managed infrastructure. Who may make a pass, and when the next one is due.

A row is *claimed* by whoever publishes it (beat, or a wake-up): its claim_token travels in the message. A pass takes
the infrastructure's lease (leases.py), or a glance at it (glances.py), only with a current claim_token, and its end
takes the token away: a late, doubled or redelivered message finds nothing to do (or a pass that was asked for again
under the same token, which is then made). A claim whose message was lost is published again when the row is next due,
under the same token, so that a message that was only late is still good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from occo_celery.model.message import Claim
from occo_celery.uds import phases, tables
from occo_celery.uds.sets import among, chosen

_I = tables.infrastructures
_S = tables.schedule

#: The least time from the beginning of a pass to that of the next one of the same infrastructure, seconds; and how
#: many times the duration of the first.
LEAST_GAP = 0.02
GAP_OF_DURATION = 2.0
#: The time at which what is suspended is due, seconds since the epoch.
NEVER = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row; times in seconds since the epoch, interval, longest, pace and last_duration in seconds."""

    infra_id: str
    attach_epoch: int
    interval: float
    longest: float
    pace: float
    phase: float
    strategy: str
    next_due: float
    claim_token: str | None
    started: float
    last_pass: float | None
    last_duration: float
    passes: int
    last_error: str | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Row:
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a pass ended. steady: all was as it should be, and nothing has changed. look_again: seconds until it wants
    to be made again, None for the interval."""

    infra_id: str
    wake_seen: int
    steady: bool = False
    look_again: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """An infrastructure as it is when its lease is given back (leases.release)."""

    infra_id: str
    wake: int
    generation: int
    name: str


#: Statements of every pass are made once, with parameters: making them costs more than carrying them out.
_NOW = sa.bindparam("now", type_=tables.Time)


def following(
    now: float | sa.ColumnElement[float], interval: sa.ColumnElement[float] = _S.c.interval
) -> sa.ColumnElement[float]:
    """The next time after now that is in phase; times that were missed collapse into one."""
    return _S.c.phase + (sa.func.floor((now - _S.c.phase) / interval) + 1) * interval


def insert(
    connection: sa.Connection,
    infra_id: str,
    *,
    epoch: int,
    interval: float,
    longest: float,
    strategy: str,
    claim: str,
    now: float,
) -> Claim:
    """Begin managing, due now and claimed by the caller, who publishes after the commit.

    interval: seconds between passes; longest: seconds up to which that grows while nothing happens.
    """
    phase = phases.own(infra_id, longest)
    connection.execute(
        _S.insert().values(
            infra_id=infra_id,
            attach_epoch=epoch,
            interval=interval,
            longest=longest,
            pace=interval,
            phase=phase,
            strategy=strategy,
            next_due=phase + ((now - phase) // interval + 1) * interval,
            claim_token=claim,
            started=now,
        )
    )
    return Claim(token=claim, infra_ids=(infra_id,), woken=True)


_GET = sa.select(_S).where(_S.c.infra_id == sa.bindparam("id"))


def get(connection: sa.Connection, infra_id: str) -> Row | None:
    row = connection.execute(_GET, {"id": infra_id}).mappings().first()
    return None if row is None else Row.from_row(dict(row))


def delete(connection: sa.Connection, infra_id: str) -> bool:
    """True if there was a row."""
    return connection.execute(_S.delete().where(_S.c.infra_id == infra_id)).rowcount == 1


_DUE = (
    sa.select(_S.c.infra_id)
    .where(_S.c.next_due <= sa.bindparam("now"))
    .order_by(_S.c.next_due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_DUE = (
    _S.update()
    .where(chosen(_S.c.infra_id, sa.select(_DUE.c.infra_id)))
    .values(claim_token=sa.func.coalesce(_S.c.claim_token, sa.bindparam("token")), next_due=following(_NOW))
    .returning(_S.c.infra_id, _S.c.claim_token, _S.c.phase)
)


def claim_due(connection: sa.Connection, *, now: float, limit: int, token: str, batch: int) -> Sequence[Claim]:
    """Claim up to ``limit`` due rows in one statement; any number of beats may do so at once.

    Each claim is of up to ``batch`` infrastructures; those that share a phase stay together as far as they fit.
    """
    claimed = connection.execute(_CLAIM_DUE, {"now": now, "most": limit, "token": token})
    by_token: dict[str, dict[float, list[str]]] = {}
    for row in claimed:
        by_token.setdefault(row.claim_token, {}).setdefault(row.phase, []).append(row.infra_id)
    return [
        Claim(token=key, infra_ids=tuple(some))
        for key, by_phase in by_token.items()
        for some in packed([by_phase[phase] for phase in sorted(by_phase)], batch)
    ]


def packed(groups: Sequence[Sequence[str]], batch: int) -> Iterator[Sequence[str]]:
    """Sets of up to batch members; a group is divided only where it is larger than that.

    Large ones are filled up with small ones: a message costs more than what is in it.
    """
    parts = (group[start : start + batch] for group in groups for start in range(0, len(group), batch))
    waiting = deque(sorted(parts, key=len))
    while waiting:
        filling = [*waiting.pop()]
        while waiting and len(filling) + len(waiting[0]) <= batch:
            filling += waiting.popleft()
        yield filling


#: When the next row is due; NULL when nothing is managed.
NEXT_DUE = sa.select(sa.func.min(_S.c.next_due)).scalar_subquery()


def rest(connection: sa.Connection, infra_id: str) -> None:
    """Suspended: no pass is due, and a message that is under way finds nothing to do."""
    connection.execute(_S.update().where(_S.c.infra_id == infra_id).values(next_due=NEVER, claim_token=None))


_WAKE = (
    _I.update()
    .where(_I.c.infra_id == sa.bindparam("id"))
    .values(wake=_I.c.wake + 1)
    .returning(_I.c.pass_token, _I.c.lease_until, _I.c.name, _I.c.suspended)
)
_CLAIM_ONE = (
    _S.update()
    .where(_S.c.infra_id == sa.bindparam("id"))
    .values(
        claim_token=sa.func.coalesce(_S.c.claim_token, sa.bindparam("token")),
        next_due=following(_NOW),
        pace=_S.c.interval,
    )
    .returning(_S.c.claim_token, _S.c.last_pass, _S.c.last_duration)
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An infrastructure that a pass was asked for. free: nobody has its lease, so the claim is to be published."""

    infra_id: str
    name: str
    free: bool


def wake(connection: sa.Connection, infra_id: str, *, now: float, token: str) -> Claim | None:
    """Ask for a pass now. The claim is to be published after the commit; None when there is nothing to publish:
    not managed, or a pass is running, whose release sees the counter."""
    return claim_asked(connection, ask(connection, infra_id, now=now), now=now, token=token)


def ask(connection: sa.Connection, infra_id: str, *, now: float) -> Asked:
    """The first half of ``wake``: raises the counter, and holds the infrastructure until the transaction ends."""
    row = connection.execute(_WAKE, {"id": infra_id}).first()
    if row is None:
        return Asked(infra_id, "", free=False)
    return Asked(infra_id, row.name, not row.suspended and (row.pass_token is None or row.lease_until <= now))


def claim_asked(connection: sa.Connection, asked: Asked, *, now: float, token: str) -> Claim | None:
    """The second half of ``wake``, in the same transaction."""
    return _claim_one(connection, asked.infra_id, asked.name, now=now, token=token) if asked.free else None


def merged(claims: Iterable[Claim]) -> Sequence[Claim]:
    """The same claims in as few messages as may be: those under one token that are held back for as long travel
    together."""
    found: dict[tuple[str, float, bool], dict[str, Claim]] = {}
    for claim in claims:
        for infra_id in claim.infra_ids:
            found.setdefault((claim.token, claim.after, claim.woken), {})[infra_id] = claim
    return [
        replace(one, infra_ids=tuple(some), name=one.name if len(some) == 1 else "")
        for some in found.values()
        for one in [next(iter(some.values()))]
    ]


def _claim_one(connection: sa.Connection, infra_id: str, name: str, *, now: float, token: str) -> Claim | None:
    row = connection.execute(_CLAIM_ONE, {"id": infra_id, "token": token, "now": now}).first()
    if row is None:
        return None
    after = 0.0
    if row.last_pass is not None:
        began, gap = row.last_pass - row.last_duration, max(LEAST_GAP, GAP_OF_DURATION * row.last_duration)
        after = min(max(0.0, began + gap - now), gap)  # no longer, where clocks differ
    return Claim(token=row.claim_token, infra_ids=(infra_id,), after=after, woken=True, name=name)


def _ended(**values: Any) -> dict[str, Any]:
    return {
        "claim_token": None,
        "last_pass": _NOW,
        "last_duration": sa.bindparam("duration"),
        "passes": _S.c.passes + 1,
        **values,
    }


# The claim made the row due an interval later, so that a message that is lost is sent again then. Only a pass that
# was made, and found all steady, puts that off. What was suspended meanwhile is not due, whatever a pass found.
_RESTS = _S.c.next_due >= NEVER
_GROWS = sa.and_(_S.c.longest > _S.c.interval, sa.not_(_RESTS))
#: Notes that a pass found all steady; needs the parameters ``now`` and ``duration``.
STEADY = _S.update().values(
    **_ended(
        last_error=None,
        next_due=sa.case((_GROWS, following(_NOW, _S.c.pace)), else_=_S.c.next_due),
        pace=sa.case((_S.c.pace * 2 < _S.c.longest, _S.c.pace * 2), else_=_S.c.longest),
    )
)
_STEADY = STEADY.where(among(_S.c.infra_id, "infra_ids"))
_ENDED = _S.update().where(among(_S.c.infra_id, "infra_ids")).values(**_ended(last_error=None, pace=_S.c.interval))
_WHEN = sa.bindparam("when", type_=tables.Time)
_SOONER = sa.case((sa.or_(_S.c.next_due <= _WHEN, _RESTS), _S.c.next_due), else_=_WHEN)
_AGAIN = (
    _S.update()
    .where(_S.c.infra_id == sa.bindparam("id"))
    .values(**_ended(last_error=sa.bindparam("error"), next_due=_SOONER, pace=_S.c.interval))
)


def finish(
    connection: sa.Connection,
    outcomes: Collection[Outcome],
    released: Mapping[str, Released],
    *,
    now: float,
    duration: float,
) -> Sequence[Released]:
    """Write how passes ended; returns those to be claimed again at once, because their wake has grown."""
    steady: list[str] = []
    ended: list[str] = []
    again, woken = [], []
    for outcome in outcomes:
        if outcome.infra_id not in released:
            continue
        if released[outcome.infra_id].wake > outcome.wake_seen:
            woken.append(released[outcome.infra_id])
        if outcome.look_again is not None or outcome.error is not None:
            again.append(outcome)
        else:
            (steady if outcome.steady else ended).append(outcome.infra_id)
    times = {"now": now, "duration": duration}
    for statement, infra_ids in ((_STEADY, steady), (_ENDED, ended)):
        if infra_ids:
            connection.execute(statement, {**times, "infra_ids": infra_ids})
    for outcome in again:
        when = now + (outcome.look_again if outcome.look_again is not None else 1e9)
        connection.execute(_AGAIN, {**times, "id": outcome.infra_id, "error": outcome.error, "when": when})
    return woken


def claim_woken(connection: sa.Connection, woken: Sequence[Released], *, now: float, token: str) -> Sequence[Claim]:
    """Claims of infrastructures whose wake grew during their pass, to be published after the commit."""
    claims = (_claim_one(connection, one.infra_id, one.name, now=now, token=token) for one in woken)
    return merged(claim for claim in claims if claim is not None)
