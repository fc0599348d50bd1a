"""Phases: where in its interval the passes of an infrastructure fall.

One that is not ready has a phase of its own. When it becomes ready it joins others whose instances are in the same
cloud account, a message's worth of them, so that they travel together and one call to the account shows all their
instances. The phases of an account are spread evenly over the interval, and accounts begin at different ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import sqlalchemy as sa

from occo_celery.uds import tables

_S = tables.schedule

#: Multiples of the golden section, less their whole parts, are spread evenly however many there are.
_GOLDEN = (5**0.5 - 1) / 2
#: Phases of an account that are filled one after the other; beyond them, one of as many again is tried, and so on.
FIRST, DOUBLINGS = 8, 18


def own(infra_id: str, longest: float) -> float:
    """The phase of an infrastructure by itself: stable, and spread evenly over many. longest: seconds."""
    return longest * (zlib.crc32(infra_id.encode()) / 2**32)


def shared(account: str, number: int, longest: float) -> float:
    """The phase of that number of those of an account."""
    return longest * ((zlib.crc32(account.encode()) / 2**32 + number * _GOLDEN) % 1.0)


def candidates(infra_id: str, account: str, longest: float) -> Sequence[float]:
    """Phases that an infrastructure may join, in the order in which they are tried."""
    chance = zlib.crc32(infra_id.encode())
    beyond = (FIRST * 2**power + chance % (FIRST * 2**power) for power in range(DOUBLINGS))
    return [shared(account, number, longest) for number in (*range(FIRST), *beyond)]


_FILLED = (
    sa.select(_S.c.phase, sa.func.count())
    .where(_S.c.phase.in_(sa.bindparam("phases", expanding=True)), _S.c.infra_id != sa.bindparam("id"))
    .group_by(_S.c.phase)
)
_PLACE = sa.select(_S.c.longest, _S.c.phase).where(_S.c.infra_id == sa.bindparam("id"))
_MOVE = (
    _S.update()
    .where(_S.c.infra_id == sa.bindparam("id"), _S.c.phase != sa.bindparam("joined"))
    .values(phase=sa.bindparam("joined"))
)


def join(connection: sa.Connection, infra_id: str, account: str, *, room: int) -> None:
    """Give a managed infrastructure the first phase of the account that fewer than ``room`` others share.

    One that has joined others stays with them, however often it becomes ready again: where all phases are filled, it
    would be alone in a new one.
    """
    place = connection.execute(_PLACE, {"id": infra_id}).first()
    if place is None or place.phase != own(infra_id, place.longest):
        return
    longest = place.longest
    phases = candidates(infra_id, account, longest)
    filled = dict(tuple(row) for row in connection.execute(_FILLED, {"phases": phases, "id": infra_id}))
    joined = next((phase for phase in phases if filled.get(phase, 0) < room), phases[-1])
    connection.execute(_MOVE, {"id": infra_id, "joined": joined})
