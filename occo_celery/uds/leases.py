"""Leases: what a pass takes before it reads and plans, and gives back in the transaction that records it.

Of infrastructures that are as they should be a glance is enough, which needs none: see glances.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.model.message import Claim
from occo_celery.uds import accounts, rows, tables
from occo_celery.uds.infrastructures import Infrastructure
from occo_celery.uds.schedule import Released, Row
from occo_celery.uds.sets import among

_I = tables.infrastructures
_S = tables.schedule
_N = tables.nodes
_Q = tables.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """All that there is of one infrastructure, as it was when it was read under the lease. What is rare is to be read
    then: asked: there are requests; shaky: some account missed an answer lately."""

    infra: Infrastructure
    row: Row
    instances: tuple[instance.Instance, ...]
    asked: bool = False
    shaky: bool = False


# The set is named here only: named beside it too, PostgreSQL sorts it anew for each row that it finds.
_ASKED = sa.tuple_(_I.c.infra_id, _I.c.attach_epoch).in_(
    sa.select(_S.c.infra_id, _S.c.attach_epoch).where(
        among(_S.c.infra_id, "infra_ids"), _S.c.claim_token == sa.bindparam("token")
    )
)
#: Passes may be made of it.
LIVES = sa.and_(_I.c.phase == instance.Phase.SUBMITTED.value, _I.c.suspended.is_(False))
_FREE = sa.or_(_I.c.lease_until.is_(None), _I.c.lease_until <= sa.bindparam("now", type_=tables.Time))
_TAKE = (
    _I.update()
    .where(_FREE, LIVES, _ASKED)
    .values(pass_token=sa.bindparam("taken"), lease_until=sa.bindparam("until"))
    .returning(_I.c.infra_id)
)


def take(connection: sa.Connection, claim: Claim, *, now: float, until: float, pass_token: str) -> Collection[str]:
    """Take the leases of a claim's infrastructures, as many as are free and still asked for; returns those.

    The condition on attach_epoch is evaluated on the locked row: a detach that commits meanwhile is seen.
    """
    parameters = {"token": claim.token, "infra_ids": claim.infra_ids, "now": now, "taken": pass_token, "until": until}
    return connection.execute(_TAKE, parameters).scalars().all()


_READ = (
    sa.select(
        *(column.label(f"infra_{column.name}") for column in _I.c),
        *(column.label(f"row_{column.name}") for column in _S.c),
        sa.exists().where(_Q.c.infra_id == _I.c.infra_id).label("asked"),
        accounts.SHAKY.label("shaky"),
    )
    .select_from(_I.join(_S, _S.c.infra_id == _I.c.infra_id))
    .where(among(_I.c.infra_id, "infra_ids"), _I.c.pass_token == sa.bindparam("token"))
    .order_by(_I.c.infra_id)
)
_INSTANCES = rows.INSTANCE.where(among(_N.c.infra_id, "infra_ids")).order_by(_N.c.created_at, _N.c.node_id)


def read(connection: sa.Connection, pass_token: str, infra_ids: Collection[str]) -> Sequence[Leased]:
    """All that there is of those of these infrastructures whose lease is still ours, in two statements.

    What becomes of a lease, or of a row, between the two is found out when the pass is recorded.
    """
    parameters = {"token": pass_token, "infra_ids": infra_ids}
    infras = [dict(row) for row in connection.execute(_READ, parameters).mappings()]
    instances: dict[str, list[instance.Instance]] = {row["infra_infra_id"]: [] for row in infras}
    for raw in connection.execute(_INSTANCES, {"infra_ids": list(instances)}).mappings():
        one = rows.instance_of(dict(raw))
        instances[one.infra_id].append(one)
    return [
        Leased(
            infra=Infrastructure.from_row(_stripped(row, "infra_")),
            row=Row.from_row(_stripped(row, "row_")),
            instances=tuple(instances[row["infra_infra_id"]]),
            asked=bool(row["asked"]),
            shaky=bool(row["shaky"]),
        )
        for row in infras
    ]


def _stripped(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}


_RELEASE = (
    _I.update()
    .where(among(_I.c.infra_id, "infra_ids"), _I.c.pass_token == sa.bindparam("token"))
    .values(pass_token=None, lease_until=None)
    .returning(_I.c.infra_id, _I.c.wake, _I.c.generation, _I.c.name)
)


def release(connection: sa.Connection, pass_token: str, infra_ids: Collection[str]) -> Mapping[str, Released]:
    """Give the leases back; returns, by infra_id, those that were still ours.

    The first statement of the transaction that records what was planned: the rows stay locked until it ends, so what
    is written after it is fenced by the token.
    """
    ended = connection.execute(_RELEASE, {"token": pass_token, "infra_ids": infra_ids}).all()
    return {
        infra_id: Released(infra_id=infra_id, wake=wake, generation=generation, name=name)
        for infra_id, wake, generation, name in ended
    }
