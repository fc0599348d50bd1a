"""Leases: what a pass takes before it looks, reads under, and gives back in the transaction that records it.

Most infrastructures are as they should be and stay so: of those a pass reads a glance, of the others everything.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from occo_celery.model import instance, status
from occo_celery.model.message import Claim
from occo_celery.uds import rows, tables
from occo_celery.uds.infrastructures import Infrastructure
from occo_celery.uds.schedule import Released, Row
from occo_celery.uds.sets import among

_I = tables.infrastructures
_S = tables.schedule
_N = tables.nodes
_A = tables.accounts
_Q = tables.requests
_NOW = sa.bindparam("now", type_=tables.Time)


class Taken(NamedTuple):
    """An infrastructure whose lease was taken. ready: the last pass found all as it should be, and nothing has been
    asked for since: no request is waiting, and no row of its instances has come or gone."""

    infra_id: str
    wake: int
    ready: bool


class Glance(NamedTuple):
    """An instance of a ready infrastructure: what must be seen again for it to be as it was. settled: by its row it
    is ready, and nothing is held against it. shaky: some account missed an answer lately. addresses: JSON as it is
    stored. made_from: stands for its implementation, the same for all that have the same one."""

    infra_id: str
    node_id: str
    settled: bool
    shaky: bool
    account: str
    instance_id: str
    addresses: str
    made_from: str | None


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
_TAKE = (
    _I.update()
    .where(
        sa.or_(_I.c.lease_until.is_(None), _I.c.lease_until <= _NOW),
        _I.c.phase == instance.Phase.SUBMITTED.value,
        _I.c.suspended.is_(False),
        _ASKED,
    )
    .values(pass_token=sa.bindparam("taken"), lease_until=sa.bindparam("until"))
    .returning(_I.c.infra_id, _I.c.wake, _I.c.ready_since)  # not "is not null": SQLite says it always is not, here
)


def take(connection: sa.Connection, claim: Claim, *, now: float, until: float, pass_token: str) -> Sequence[Taken]:
    """Take the leases of a claim's infrastructures, as many as are free and still asked for.

    The condition on attach_epoch is evaluated on the locked row: a detach that commits meanwhile is seen.
    """
    parameters = {"token": claim.token, "infra_ids": claim.infra_ids, "now": now, "taken": pass_token, "until": until}
    taken = connection.execute(_TAKE, parameters).all()
    return [Taken(infra_id, wake, ready=since is not None) for infra_id, wake, since in taken]


_SETTLED = sa.and_(
    _N.c.lifecycle == instance.Lifecycle.RUNNING.value,
    _N.c.status == status.NodeStatus.READY.value,
    _N.c.reason_code == "ready",
    *(column.is_(None) for column in (_N.c.outdated, _N.c.failing_since, _N.c.missing_since, _N.c.lost_at)),
)
_SHAKY = sa.exists().where(_A.c.misses > 0)  # looked at once a statement, not for each row: few ever miss one
_GLANCES = sa.select(
    _N.c.infra_id,
    _N.c.node_id,
    _SETTLED,
    _SHAKY,
    _N.c.account,
    _N.c.instance_id,
    sa.cast(_N.c.addresses, sa.Text),
    _N.c.implementation_hash,
).where(among(_N.c.infra_id, "infra_ids"))


def glances(connection: sa.Connection, infra_ids: Collection[str]) -> Mapping[str, Sequence[Glance]]:
    """The instances of ready infrastructures, by infra_id; one that has none is left out."""
    found: dict[str, list[Glance]] = {}
    for row in connection.execute(_GLANCES, {"infra_ids": infra_ids}).all():
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


_READ = (
    sa.select(
        *(column.label(f"infra_{column.name}") for column in _I.c),
        *(column.label(f"row_{column.name}") for column in _S.c),
        sa.exists().where(_Q.c.infra_id == _I.c.infra_id).label("asked"),
        _SHAKY.label("shaky"),
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

    The first statement of the recording transaction: the rows stay locked until it ends, so what is written after
    it is fenced by the token.
    """
    ended = connection.execute(_RELEASE, {"token": pass_token, "infra_ids": infra_ids}).all()
    return {
        infra_id: Released(infra_id=infra_id, wake=wake, generation=generation, name=name)
        for infra_id, wake, generation, name in ended
    }
