"""Glances: how a pass finds, without a lease, that nothing has changed in infrastructures that were ready.

Most infrastructures are as they should be and stay so. What a pass would read and write of them under a lease says
nothing new, so it only looks, and notes that it did where nobody has been there meanwhile. Whatever else it finds is
for a pass with a lease.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from occo_celery.model import instance, status
from occo_celery.model.message import Claim
from occo_celery.uds import accounts, leases, schedule, tables
from occo_celery.uds.sets import among, chosen, numbered

_I = tables.infrastructures
_S = tables.schedule
_N = tables.nodes


class Glance(NamedTuple):
    """An instance of a ready infrastructure: what must be seen again for it to be as it was. wake: the counter of its
    infrastructure. settled: by its row it is ready, and nothing is held against it. shaky: some account missed an
    answer lately. addresses: JSON as it is stored. made_from: stands for its implementation, the same for all that
    have the same one."""

    infra_id: str
    wake: int
    node_id: str
    settled: bool
    shaky: bool
    account: str
    instance_id: str
    addresses: str
    made_from: str | None


_SETTLED = sa.and_(
    _N.c.lifecycle == instance.Lifecycle.RUNNING.value,
    _N.c.status == status.NodeStatus.READY.value,
    _N.c.reason_code == "ready",
    *(column.is_(None) for column in (_N.c.outdated, _N.c.failing_since, _N.c.missing_since, _N.c.lost_at)),
)
# A lease that has run out is taken over by a pass with one: its holder may only be slow, and must find it lost.
_LEFT_ALONE = sa.and_(leases.LIVES, _I.c.pass_token.is_(None))
_GLANCES = (
    sa.select(
        _N.c.infra_id,
        _I.c.wake,
        _N.c.node_id,
        _SETTLED,
        accounts.SHAKY,
        _N.c.account,
        _N.c.instance_id,
        sa.cast(_N.c.addresses, sa.Text),
        _N.c.implementation_hash,
    )
    .select_from(
        _I.join(_S, sa.and_(_S.c.infra_id == _I.c.infra_id, _S.c.attach_epoch == _I.c.attach_epoch)).join(
            _N, _N.c.infra_id == _I.c.infra_id
        )
    )
    .where(
        among(_I.c.infra_id, "infra_ids"),
        _I.c.ready_since.is_not(None),
        _LEFT_ALONE,
        _S.c.claim_token == sa.bindparam("token"),
    )
)


def take(connection: sa.Connection, claim: Claim) -> Mapping[str, Sequence[Glance]]:
    """The instances of those of a claim's infrastructures that the last pass found ready and of which nothing has
    been asked since (no request is waiting, and no row of their instances has come or gone), by infra_id.

    One that has none is left out, as are those that somebody has, or had, a lease of, or that are not asked for any
    more.
    """
    found: dict[str, list[Glance]] = {}
    for row in connection.execute(_GLANCES, {"infra_ids": claim.infra_ids, "token": claim.token}).all():
        found.setdefault(row[0], []).append(Glance._make(row))
    return found


_IMPLEMENTATIONS = sa.select(_N.c.implementation_hash, sa.cast(_N.c.implementation, sa.Text)).where(
    among(_N.c.infra_id, "infra_ids"), among(_N.c.implementation_hash, "wanted")
)


def implementations(
    connection: sa.Connection, infra_ids: Collection[str], wanted: Collection[str]
) -> Mapping[str, Mapping[str, Any]]:
    """What instances of these infrastructures were made from, by the ``made_from`` of a glance."""
    found = connection.execute(_IMPLEMENTATIONS, {"infra_ids": infra_ids, "wanted": wanted}).all()
    return {key: json.loads(text) for key, text in dict(tuple(row) for row in found).items()}


_SEEN = numbered("wakes")
# Held until the transaction ends. Compared on the locked row: a wake-up that commits meanwhile is seen.
_UNDISTURBED = (
    sa.select(_I.c.infra_id)
    .select_from(_SEEN.join(_I, _I.c.infra_id == _SEEN.c.key))
    .where(_I.c.wake == sa.cast(_SEEN.c.value, sa.BigInteger), _LEFT_ALONE)
    .order_by(_I.c.infra_id)
    .with_for_update(read=True, of=_I)
    .cte("undisturbed")
)
_CONFIRM = schedule.STEADY.where(
    chosen(_S.c.infra_id, sa.select(_UNDISTURBED.c.infra_id)), _S.c.claim_token == sa.bindparam("token")
).returning(_S.c.infra_id)


def confirm(
    connection: sa.Connection, token: str, wakes: Mapping[str, int], *, now: float, duration: float
) -> Collection[str]:
    """Note that these infrastructures are as they were, as far as they are still asked for under the claim's token,
    nobody has asked for another pass since the glance (wakes: the counters as they were then), and nobody has a
    lease. Returns those."""
    parameters = {"token": token, "wakes": wakes, "now": now, "duration": duration}
    return set(connection.execute(_CONFIRM, parameters).scalars())
