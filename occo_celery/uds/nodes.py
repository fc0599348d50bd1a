"""Rows of node instances. A lifecycle moves by compare-and-set, along instance.MOVES."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from occo_celery.model import instance, status
from occo_celery.uds import rows, tables
from occo_celery.uds.sets import among

_N = tables.nodes
_X = tables.nodes_archive

_INSERT = _N.insert()
_IS_NODE = _N.c.node_id == sa.bindparam("is_node")


def insert(connection: sa.Connection, infra_id: str, names: Mapping[str, str], *, now: float) -> None:
    """Planned instances, their nodes' names by node_id: nothing has been asked of any cloud."""
    same = {
        "infra_id": infra_id,
        "lifecycle": instance.Lifecycle.PLANNED.value,
        "status": status.NodeStatus.PENDING.value,
        "addresses": [],
        "created_at": now,
        **rows.reason_columns(status.Reason(code="planned", since=now)),
    }
    connection.execute(_INSERT, [{"node_id": key, "node_name": name, **same} for key, name in names.items()])


_GET = rows.INSTANCE.where(_IS_NODE)
_OF = rows.INSTANCE.where(_N.c.infra_id == sa.bindparam("id")).order_by(_N.c.created_at, _N.c.node_id)


def get(connection: sa.Connection, node_id: str) -> instance.Instance | None:
    row = connection.execute(_GET, {"is_node": node_id}).mappings().first()
    return None if row is None else rows.instance_of(dict(row))


def of(connection: sa.Connection, infra_id: str) -> Sequence[instance.Instance]:
    """All instances of an infrastructure, oldest first."""
    found = connection.execute(_OF, {"id": infra_id})
    return [rows.instance_of(dict(row)) for row in found.mappings()]


#: Two halves, each with an index of its own.
_SOME = sa.union_all(
    rows.INSTANCE.where(_N.c.infra_id == sa.bindparam("id"), among(_N.c.node_name, "names")),
    rows.INSTANCE.where(among(_N.c.node_id, "node_ids")),
)


def some(
    connection: sa.Connection, infra_id: str, *, names: Collection[str], node_ids: Collection[str]
) -> Sequence[instance.Instance]:
    """The instances of an infrastructure with these node_ids, and all of the nodes of these names; each once, oldest
    first."""
    rows_found = connection.execute(_SOME, {"id": infra_id, "names": names, "node_ids": node_ids}).mappings()
    found = {row["node_id"]: row for row in rows_found}
    several = [rows.instance_of(dict(row)) for row in found.values()]
    return sorted(several, key=lambda one: (one.created_at, one.node_id))


_CHANGE = _N.update().where(_IS_NODE).values(version=_N.c.version + 1)
_MOVE = _CHANGE.where(_N.c.lifecycle == sa.bindparam("is_lifecycle"))
_IS_VERSION = _N.c.version == sa.bindparam("is_version")
_MOVE_AS_READ = _MOVE.where(_IS_VERSION)
_OBSERVED = _CHANGE.where(_IS_VERSION)


def move(
    connection: sa.Connection,
    node_id: str,
    origin: instance.Lifecycle,
    to: instance.Lifecycle,
    *,
    version: int | None = None,
    **values: Any,
) -> bool:
    """Move a lifecycle on and set other columns; False if the row is not (any more) where it was thought to be."""
    assert (origin, to) in instance.MOVES or origin is to, (origin, to)
    where = {"is_node": node_id, "is_lifecycle": origin.value, "is_version": version}
    if version is None:
        del where["is_version"]
    statement = _MOVE if version is None else _MOVE_AS_READ
    return connection.execute(statement, {**where, "lifecycle": to.value, **_plain(values)}).rowcount == 1


def move_all(
    connection: sa.Connection,
    origin: instance.Lifecycle,
    to: instance.Lifecycle,
    values: Mapping[str, Mapping[str, Any]],
) -> None:
    """As ``move``, for many: the columns to be set, the same for all, by node_id. Rows that are not where they were
    thought to be stay as they are."""
    assert (origin, to) in instance.MOVES or origin is to, (origin, to)
    where = {"is_lifecycle": origin.value, "lifecycle": to.value}
    if values:
        connection.execute(_MOVE, [{**where, "is_node": key, **_plain(dict(some))} for key, some in values.items()])


def observed(connection: sa.Connection, node_id: str, version: int, **values: Any) -> bool:
    """What a pass saw of a row that is as the pass read it; False if it has changed meanwhile."""
    where = {"is_node": node_id, "is_version": version}
    return connection.execute(_OBSERVED, {**where, **_plain(values)}).rowcount == 1


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    if (reason := values.pop("reason", None)) is not None:
        values |= rows.reason_columns(reason)
    if "implementation" in values:
        values |= rows.implementation_columns(values["implementation"])
    return rows.of_table(_N, values)


def mark(connection: sa.Connection, node_id: str, outdated: instance.Replacement | None) -> None:
    """Say that an instance is to be replaced, or (None) that it is not any more."""
    connection.execute(_CHANGE, {"is_node": node_id, "outdated": None if outdated is None else outdated.value})


def forget(connection: sa.Connection, node_id: str) -> None:
    """A planned instance that no cloud has heard of is not wanted any more."""
    connection.execute(_N.delete().where(_N.c.node_id == node_id, _N.c.lifecycle == instance.Lifecycle.PLANNED.value))


_DELETE = _N.delete().where(_IS_NODE)
_LOST = sa.union(
    *(
        sa.select(table.c.infra_id, table.c.node_name).where(
            among(table.c.infra_id, "infra_ids"), table.c.lost_at >= sa.bindparam("since")
        )
        for table in (_N, _X)
    )
)


def lost_lately(connection: sa.Connection, infra_ids: Collection[str], *, since: float) -> set[tuple[str, str]]:
    """(infra_id, node name) of the nodes that have lost an instance since then."""
    found = connection.execute(_LOST, {"infra_ids": list(infra_ids), "since": since})
    return {(row.infra_id, row.node_name) for row in found}


_FAILED_WITH = [
    sa.select(table.c.node_name, table.c.implementation, table.c.lost_at).where(
        table.c.infra_id == sa.bindparam("id"),
        among(table.c.node_name, "names"),
        table.c.lost_at >= sa.bindparam("since"),
    )
    for table in (_N, _X)
]


def failed_with(
    connection: sa.Connection, infra_id: str, names: Collection[str], *, since: float
) -> dict[str, list[Mapping[str, Any]]]:
    """By node name: the implementations of instances that were lost since then, the latest last."""
    asked = {"id": infra_id, "names": list(names), "since": since}
    rows = [row for one in _FAILED_WITH for row in connection.execute(one, asked) if row.implementation is not None]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda one: one.lost_at):
        found.setdefault(row.node_name, []).append(row.implementation)
    return found


_ARCHIVE = _X.insert()


def archive(connection: sa.Connection, node: instance.Instance, *, why: str, now: float) -> None:
    """The end of an instance that no cloud has any more (or ever had)."""
    connection.execute(_DELETE, {"is_node": node.node_id})
    row = {
        "node_id": node.node_id,
        "infra_id": node.infra_id,
        "node_name": node.node_name,
        "account": node.account,
        "instance_id": node.instance_id,
        "addresses": list(node.addresses),
        "implementation": node.implementation,
        "created_at": node.created_at,
        "archived_at": now,
        "lost_at": node.lost_at,
        "why": why,
    }
    connection.execute(_ARCHIVE, row)


_ACCOUNTS_OF = [
    sa.select(table.c.account, table.c.implementation).where(
        table.c.infra_id == sa.bindparam("id"), table.c.account.is_not(None)
    )
    for table in (_X, _N)
]


def accounts_of(connection: sa.Connection, infra_id: str) -> dict[str, dict[str, Any]]:
    """Every account that an infrastructure has, or had, instances on: a resource section leading to each."""
    found: dict[str, dict[str, Any]] = {}
    for statement in _ACCOUNTS_OF:
        for row in connection.execute(statement, {"id": infra_id}):
            if row.implementation is not None:
                found[row.account] = row.implementation
    return found
