"""Scaling requests: inserted by the API, deleted by id in the transaction that changes the target."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from occo_celery.model.request import Kind, Request
from occo_celery.uds import tables
from occo_celery.uds.sets import among

_Q = tables.requests


def insert(connection: sa.Connection, infra_id: str, request: Request, *, now: float) -> None:
    connection.execute(
        _Q.insert().values(
            infra_id=infra_id,
            node_name=request.node_name,
            kind=request.kind.value,
            count=request.count,
            node_id=request.node_id,
            created_at=now,
        )
    )


_OF = sa.select(_Q).where(among(_Q.c.infra_id, "infra_ids")).order_by(_Q.c.id)


def of(connection: sa.Connection, infra_ids: Collection[str]) -> Mapping[str, Sequence[Request]]:
    """The requests of these infrastructures, by infra_id, in the order in which they were made."""
    rows = connection.execute(_OF, {"infra_ids": infra_ids})
    found: dict[str, list[Request]] = {}
    for row in rows:
        found.setdefault(row.infra_id, []).append(
            Request(
                id=row.id,
                node_name=row.node_name,
                kind=Kind(row.kind),
                count=row._mapping["count"],
                node_id=row.node_id,
            )
        )
    return found


def consume(connection: sa.Connection, requests: Sequence[Request]) -> bool:
    """Delete these requests; False if not all of them were there to be acted on (then nothing may be)."""
    if not requests:
        return True
    ended = connection.execute(_Q.delete().where(_Q.c.id.in_([one.id for one in requests])))
    return ended.rowcount == len(requests)


def clear(connection: sa.Connection, infra_id: str) -> None:
    """The infrastructure ends: nothing is to be scaled any more."""
    connection.execute(_Q.delete().where(_Q.c.infra_id == infra_id))
