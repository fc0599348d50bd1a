"""Events: written in the transaction of the change that they tell of, named as in Occopus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from occo_celery.uds import tables

_E = tables.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    id: int
    infra_id: str
    time: float
    name: str
    data: Mapping[str, Any]


_INSERT = _E.insert().inline()  # nobody asks for the ids here


def add(connection: sa.Connection, infra_id: str, event: str, *, now: float, **data: Any) -> None:
    connection.execute(_INSERT, {"infra_id": infra_id, "time": now, "name": event, "data": data})


def add_all(
    connection: sa.Connection, infra_id: str, told: Sequence[tuple[str, Mapping[str, Any]]], *, now: float
) -> None:
    """Several at once, in this order: (event, data) of each."""
    if told:
        same = {"infra_id": infra_id, "time": now}
        connection.execute(_INSERT, [{**same, "name": event, "data": data} for event, data in told])


def of(connection: sa.Connection, infra_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
    """Events of an infrastructure in the order in which they happened, beginning after an id."""
    found = connection.execute(
        sa.select(_E).where(_E.c.infra_id == infra_id, _E.c.id > after).order_by(_E.c.id).limit(limit)
    )
    return [Event(**row) for row in found.mappings()]
