"""Cloud accounts: those in use, which do not answer, and until when they are left alone; on which healing waits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from occo_celery.model import account as accounts
from occo_celery.model import instance
from occo_celery.uds import tables
from occo_celery.uds.sets import among

_A = tables.accounts
_N = tables.nodes
_O = tables.operations
_X = tables.nodes_archive

_IS_ACCOUNT = _A.c.account == sa.bindparam("is_account")

#: Misses in a row after which an account counts as silent.
MISSES = 2
#: Seconds for which an account that did not answer is left alone; then one pass or instruction asks again.
SILENCE = 30.0


#: Some account missed an answer lately. Looked at once a statement, not for each row: few ever miss one.
SHAKY = sa.exists().where(_A.c.misses > 0)
_SILENT = sa.select(_A.c.account, _A.c.silent_until).where(_A.c.misses > 0)


def silent(connection: sa.Connection) -> dict[str, float | None]:
    """The accounts that missed an answer lately, and until when each is left alone (None: it is not)."""
    return {row.account: row.silent_until for row in connection.execute(_SILENT)}


def quiet(connection: sa.Connection, names: Collection[str], *, now: float) -> dict[str, bool]:
    """Those of these accounts that missed an answer lately, and whether each is to be left alone now.

    Of a silent account whose time has come, whoever gets False is the one who asks whether it is back.
    """
    found = silent(connection) if names else {}
    return {
        name: until is not None and not (until <= now and probe(connection, name, seen=until, now=now))
        for name, until in sorted(found.items())  # sorted: see lock
        if name in names
    }


def probe(connection: sa.Connection, account: str, *, seen: float, now: float) -> bool:
    """Claim the right to ask a silent account whether it is back; the others wait for SILENCE seconds more."""
    changed = connection.execute(
        _A.update().where(_A.c.account == account, _A.c.silent_until == seen).values(silent_until=now + SILENCE)
    )
    return changed.rowcount == 1


def answered(connection: sa.Connection, account: str) -> None:
    connection.execute(_A.update().where(_A.c.account == account).values(misses=0, silent_until=None, reason=None))


def missed(connection: sa.Connection, account: str, *, reason: str, now: float) -> None:
    """One more time-out or refusal to answer; after MISSES in a row the account is silent for SILENCE seconds."""
    ensure(connection, account)
    connection.execute(
        _A.update()
        .where(_A.c.account == account)
        .values(
            misses=_A.c.misses + 1,
            reason=reason,
            silent_until=sa.case((_A.c.misses + 1 >= MISSES, now + SILENCE), else_=None),
        )
    )


def doubted(connection: sa.Connection, account: str, *, reason: str) -> None:
    """A write was not answered: whoever is next looks whether the account answers. This alone makes none silent."""
    ensure(connection, account)
    connection.execute(_A.update().where(_A.c.account == account, _A.c.misses == 0).values(misses=1, reason=reason))


_LOST, _GONE = (
    sa.select(table.c.account, sa.func.count())
    .where(among(table.c.account, "names"), table.c.lost_at >= sa.bindparam("since"))
    .group_by(table.c.account)
    for table in (_N, _X)
)
_THERE = sa.select(sa.func.count()).select_from(
    sa.select(_N.c.node_id)
    .where(_N.c.account == sa.bindparam("name"), _N.c.lifecycle != instance.Lifecycle.PLANNED.value)
    .limit(sa.bindparam("most"))
    .subquery()
)
_BREAKERS = sa.select(_A.c.account, _A.c.breaker_at).where(among(_A.c.account, "names"))


def standings(
    connection: sa.Connection, names: Collection[str], *, since: float, most: Callable[[str, int], int]
) -> dict[str, accounts.Standing]:
    """What the breaker has to know of these accounts.

    since: losses count from then on. most: of an account with so many losses, up to how many instances are to be
    counted; there may be hundreds of thousands.
    """
    asked = {"names": names, "since": since}
    lost, gone = (dict(tuple(row) for row in connection.execute(one, asked)) for one in (_LOST, _GONE))
    opened = connection.execute(_BREAKERS, {"names": names})
    breakers = {row.account: row.breaker_at for row in opened}
    found = {}
    for name in names:
        losses = lost.get(name, 0) + gone.get(name, 0)
        there = connection.execute(_THERE, {"name": name, "most": most(name, losses)}).scalar_one()
        found[name] = accounts.Standing(
            instances=there + gone.get(name, 0), losses=losses, breaker_at=breakers.get(name)
        )
    return found


def open_breaker(connection: sa.Connection, account: str, *, now: float) -> None:
    """Healing on this account waits from now on."""
    ensure(connection, account)
    connection.execute(_A.update().where(_A.c.account == account).values(breaker_at=now))


def ensure(connection: sa.Connection, account: str) -> None:
    """A row for an account; two transactions may find at the same time that there is none."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(_A).values(account=account, misses=0).on_conflict_do_nothing())


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What nobody else changes until the transaction ends. Times are seconds since the epoch."""

    silent_until: float | None
    spent_until: float


_THERE_ARE = sa.select(_A.c.account).where(among(_A.c.account, "names"))
_LOCK = (
    sa.select(_A.c.account, _A.c.silent_until, _A.c.spent_until)
    .where(among(_A.c.account, "names"))
    .order_by(_A.c.account)
    .with_for_update()
)


def lock(connection: sa.Connection, names: Collection[str]) -> dict[str, Locked]:
    """Lock the rows of these accounts, made where there are none. Whoever writes to several accounts locks all of
    them first, once: everybody does so in the order of the names, so that nobody waits in a circle."""
    there = set(connection.execute(_THERE_ARE, {"names": names}).scalars())
    for name in sorted(set(names) - there):
        ensure(connection, name)
    return {
        row.account: Locked(silent_until=row.silent_until, spent_until=row.spent_until or 0.0)
        for row in connection.execute(_LOCK, {"names": names})
    }


#: The account of what an operation is about: that of its instance, or of the stray that is on no books.
_AT = sa.func.coalesce(_N.c.account, _O.c.detail["account"].as_string())
_AT_WORK = (
    sa.select(_AT.label("account"), sa.func.count())
    .select_from(_O.outerjoin(_N, _N.c.node_id == _O.c.target))
    .where(_O.c.lease_until > sa.bindparam("now"), among(_AT, "names"), sa.not_(among(_O.c.target, "apart_from")))
    .group_by(_AT)
)


def at_work(
    connection: sa.Connection, names: Collection[str], *, now: float, apart_from: Collection[str] = ()
) -> dict[str, int]:
    """How many instructions are at work on each account; those on which there are none are left out.

    apart_from: targets of operations that do not count (yet).
    """
    return _pairs(connection, _AT_WORK, {"names": names, "now": now, "apart_from": apart_from})


def instances(connection: sa.Connection) -> dict[str, int]:
    """How many instances are on the books of each account, those included that are being made or dropped."""
    counted = sa.select(_N.c.account, sa.func.count()).where(_N.c.account.is_not(None)).group_by(_N.c.account)
    return _pairs(connection, counted, {})


def _pairs(connection: sa.Connection, statement: sa.Executable, parameters: Mapping[str, Any]) -> dict[str, int]:
    return dict(tuple(row) for row in connection.execute(statement, parameters))


def spend(connection: sa.Connection, account: str, *, until: float) -> None:
    """Calls of the budget of an account that this transaction has locked are spent until then."""
    connection.execute(_A.update().where(_A.c.account == account).values(spent_until=until))


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One row; see tables.py for the columns. Accounts that nothing was ever to be made on have no implementation."""

    account: str
    misses: int
    silent_until: float | None = None
    reason: str | None = None
    breaker_at: float | None = None
    implementation: Mapping[str, Any] | None = None
    sweep_due: float | None = None
    suspects: Mapping[str, float] = field(default_factory=dict)
    spent_until: float | None = None


def known(connection: sa.Connection) -> Sequence[Account]:
    """All accounts, in the order of their names."""
    found = connection.execute(sa.select(_A).order_by(_A.c.account)).mappings()
    return [_account(row) for row in found]


_GET = sa.select(_A).where(_IS_ACCOUNT)
_USED = sa.select(_A.c.account).where(_IS_ACCOUNT, _A.c.implementation.is_not(None))


def get(connection: sa.Connection, account: str) -> Account | None:
    row = connection.execute(_GET, {"is_account": account}).mappings().first()
    return None if row is None else _account(row)


def _account(row: Mapping[Any, Any]) -> Account:
    values = {name: row[name] for name in Account.__slots__}
    return Account(**{**values, "suspects": values["suspects"] or {}})


def is_used(connection: sa.Connection, account: str) -> bool:
    """Has it been said to be in use?"""
    return connection.execute(_USED, {"is_account": account}).first() is not None


def use(connection: sa.Connection, account: str, implementation: Mapping[str, Any], *, sweep_due: float) -> None:
    """An instance is to be made there: from now on the account is swept."""
    ensure(connection, account)
    connection.execute(
        _A.update()
        .where(_A.c.account == account, _A.c.implementation.is_(None))
        .values(implementation=implementation, sweep_due=sweep_due)
    )


#: When the next account is to be swept; NULL when none is in use.
NEXT_SWEEP = sa.select(sa.func.min(_A.c.sweep_due)).scalar_subquery()
_DUE = (
    sa.select(_A.c.account)
    .where(_A.c.sweep_due <= sa.bindparam("now"))
    .order_by(_A.c.sweep_due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_SWEEPS = (
    _A.update()
    .where(_A.c.account.in_(sa.select(_DUE.c.account)))
    .values(sweep_due=sa.bindparam("again"))
    .returning(_A.c.account)
)


def claim_sweeps(connection: sa.Connection, *, now: float, limit: int, again: float) -> Sequence[str]:
    """Accounts that beat should have swept; each is put off by ``again`` seconds, so that beats share them and a
    message that is lost is sent again."""
    claimed = connection.execute(_CLAIM_SWEEPS, {"now": now, "most": limit, "again": now + again})
    return list(claimed.scalars())


def swept(connection: sa.Connection, account: str, *, suspects: Mapping[str, float], due: float) -> None:
    """An account was looked through. suspects: what is to be looked for again, and when each was first seen."""
    connection.execute(
        _A.update().where(_A.c.account == account).values(suspects=dict(suspects) or None, sweep_due=due)
    )
