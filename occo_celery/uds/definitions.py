"""Node definitions: the implementations of each node type, in the order of their file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from occo_celery.uds import operations, tables
from occo_celery.uds.sets import among

_D = tables.node_definitions


def replace(connection: sa.Connection, definitions: Mapping[str, Sequence[Mapping[str, Any]]], *, now: float) -> None:
    """Import: the given types get these implementations and no others. Creations that wait for a change go on."""
    connection.execute(_D.delete().where(_D.c.type.in_(list(definitions))))
    found = [
        {"type": name, "position": position, "implementation": dict(implementation), "imported_at": now}
        for name, implementations in definitions.items()
        for position, implementation in enumerate(implementations)
    ]
    if found:
        connection.execute(_D.insert(), found)
    operations.reconsider(connection, now=now)


_ALL = sa.select(_D).order_by(_D.c.type, _D.c.position)
_OF = _ALL.where(among(_D.c.type, "types"))


def load(connection: sa.Connection, types: Collection[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Implementations by type: of the given types, or of all."""
    rows = connection.execute(_ALL) if types is None else connection.execute(_OF, {"types": types})
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.type, []).append(row.implementation)
    return found
