"""Cloud accounts that do not answer: who knows it, and until when they are left alone."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from occo_celery.uds import tables

_A = tables.accounts

#: Misses in a row after which an account counts as silent.
MISSES = 2


def silent(connection: sa.Connection, names: Collection[str]) -> dict[str, tuple[int, float | None]]:
    """(misses, silent_until) of those accounts that missed an answer lately."""
    found = connection.execute(
        sa.select(_A.c.account, _A.c.misses, _A.c.silent_until).where(_A.c.account.in_(list(names)), _A.c.misses > 0)
    )
    return {row.account: (row.misses, row.silent_until) for row in found}


def probe(connection: sa.Connection, account: str, *, seen: float, until: float) -> bool:
    """Claim the right to ask a silent account whether it is back; one pass does so, the others wait."""
    changed = connection.execute(
        _A.update().where(_A.c.account == account, _A.c.silent_until == seen).values(silent_until=until)
    )
    return changed.rowcount == 1


def answered(connection: sa.Connection, names: Collection[str]) -> None:
    connection.execute(
        _A.update().where(_A.c.account.in_(list(names))).values(misses=0, silent_until=None, reason=None)
    )


def missed(connection: sa.Connection, account: str, *, reason: str, now: float, pause: float) -> None:
    """One more time-out or refusal to answer; after MISSES in a row the account is silent for ``pause`` seconds."""
    changed = connection.execute(
        _A.update()
        .where(_A.c.account == account)
        .values(
            misses=_A.c.misses + 1,
            reason=reason,
            silent_until=sa.case((_A.c.misses + 1 >= MISSES, now + pause), else_=None),
        )
    )
    if changed.rowcount == 0:
        connection.execute(_A.insert().values(account=account, misses=1, reason=reason))
