"""What the UDS knows of instances that a cloud lists.

Read by the sweep, after the list was taken: what was made before that is on the books by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.uds import tables
from occo_celery.uds.sets import among

_I = tables.infrastructures
_N = tables.nodes
_X = tables.nodes_archive
_O = tables.operations

#: Identifiers asked for in one statement.
CHUNK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A row of ``nodes``, as far as the sweep cares."""

    node_name: str
    lifecycle: instance.Lifecycle
    instance_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    node_name: str
    archived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """infra_ids: of ours, torn down ones included. nodes, archived: by node_id. strays: instances being dropped."""

    infra_ids: frozenset[str]
    nodes: Mapping[str, Node]
    archived: Mapping[str, Archived]
    strays: frozenset[str]


_OURS = sa.select(_I.c.infra_id).where(among(_I.c.infra_id, "ids"))
_NODES = sa.select(_N.c.node_id, _N.c.node_name, _N.c.lifecycle, _N.c.instance_id).where(among(_N.c.node_id, "ids"))
_ARCHIVED = sa.select(_X.c.node_id, _X.c.node_name, _X.c.archived_at).where(among(_X.c.node_id, "ids"))
_STRAYS = sa.select(_O.c.target).where(among(_O.c.infra_id, "ids"), _O.c.kind == instance.OperationKind.STRAY.value)


def books(connection: sa.Connection, infra_ids: Collection[str], node_ids: Collection[str]) -> Books:
    """What is known of these. Nodes are read before the archive, to which they move."""
    ours: set[str] = set()
    for some in _chunks(infra_ids):
        ours.update(connection.execute(_OURS, {"ids": some}).scalars())
    nodes: dict[str, Node] = {}
    archived: dict[str, Archived] = {}
    strays: set[str] = set()
    for some in _chunks(node_ids):
        for row in connection.execute(_NODES, {"ids": some}):
            lifecycle = instance.Lifecycle(row.lifecycle)
            nodes[row.node_id] = Node(node_name=row.node_name, lifecycle=lifecycle, instance_id=row.instance_id)
    for some in _chunks(node_ids):
        for node_id, node_name, archived_at in connection.execute(_ARCHIVED, {"ids": some}):
            archived[node_id] = Archived(node_name=node_name, archived_at=archived_at)
    for some in _chunks(ours):
        strays.update(connection.execute(_STRAYS, {"ids": some}).scalars())
    return Books(infra_ids=frozenset(ours), nodes=nodes, archived=archived, strays=frozenset(strays))


def _chunks(names: Collection[str]) -> Iterator[list[str]]:
    every = sorted(names)
    for start in range(0, len(every), CHUNK):
        yield every[start : start + CHUNK]
