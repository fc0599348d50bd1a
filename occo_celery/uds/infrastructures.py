"""Infrastructures and their revisions: the rows that everything about one infrastructure is locked by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.model import description, instance
from occo_celery.uds import rows, tables
from occo_celery.uds.sets import among, chosen

_T = tables.infrastructures
_R = tables.revisions
_O = tables.operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Infrastructure:
    """One row; see tables.py for the columns."""

    infra_id: str
    name: str
    user_id: str | None
    phase: instance.Phase
    generation: int
    suspended: bool
    targets: Mapping[str, int]
    created_at: float
    bootstrapped_at: float | None
    ready_since: float | None
    attach_epoch: int
    wake: int
    pass_token: str | None
    lease_until: float | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Infrastructure:
        values = {name: row[name] for name in cls.__slots__}
        return cls(**{**values, "phase": instance.Phase(values["phase"])})


def insert(
    connection: sa.Connection, compiled: description.StaticDescription, *, now: float, by: str | None = None
) -> None:
    """Store a freshly compiled infrastructure, generation 1, not managed."""
    row: dict[str, Any] = {
        "infra_id": compiled.infra_id,
        "name": compiled.name,
        "user_id": compiled.user_id,
        "phase": instance.Phase.SUBMITTED.value,
        "generation": 1,
        "targets": {},
        "created_at": now,
    }
    connection.execute(_T.insert(), row)
    _add_revision(connection, compiled, 1, now, by)


def revise(
    connection: sa.Connection,
    compiled: description.StaticDescription,
    *,
    generation: int,
    now: float,
    by: str | None = None,
) -> None:
    """Store a new revision of an infrastructure that this transaction has locked; it holds from now on."""
    _add_revision(connection, compiled, generation, now, by)
    change(connection, compiled.infra_id, generation=generation, user_id=compiled.user_id)


def _add_revision(
    connection: sa.Connection, compiled: description.StaticDescription, generation: int, now: float, by: str | None
) -> None:
    row: dict[str, Any] = {
        "infra_id": compiled.infra_id,
        "generation": generation,
        "description": compiled.to_json(),
        "created_at": now,
        "created_by": by,
    }
    connection.execute(_R.insert(), row)


_GET = sa.select(_T).where(_T.c.infra_id == sa.bindparam("id"))
# Not against checks of foreign keys: PostgreSQL makes one also when a transaction changes a row for the second time,
# which would wait for the infrastructure then, with a row of it in hand.
_LOCK = _GET.with_for_update(key_share=True)
_HOLD = _GET.with_for_update(read=True)
_HOLD_OF = (
    sa.select(_T)
    .where(chosen(_T.c.infra_id, sa.select(_O.c.infra_id).where(among(_O.c.target, "targets"))))
    .order_by(_T.c.infra_id)
    .with_for_update(read=True)
)


def get(connection: sa.Connection, infra_id: str) -> Infrastructure:
    """Raises InfrastructureIDNotFoundException."""
    return _one(connection, infra_id, _GET)


def lock(connection: sa.Connection, infra_id: str) -> Infrastructure:
    """The row, held until the transaction ends: attach, detach and tear_down of one infrastructure take turns."""
    return _one(connection, infra_id, _LOCK)


def hold(connection: sa.Connection, infra_id: str) -> Infrastructure:
    """The row, kept from changing until the transaction ends: many instructions may hold it together."""
    return _one(connection, infra_id, _HOLD)


def hold_of(connection: sa.Connection, targets: Collection[str]) -> Mapping[str, Infrastructure]:
    """Those that the operations of these targets belong to, by infra_id; all held as ``hold`` does, in one order."""
    found = connection.execute(_HOLD_OF, {"targets": targets}).mappings()
    return {row["infra_id"]: Infrastructure.from_row(dict(row)) for row in found}


def _one(connection: sa.Connection, infra_id: str, statement: sa.Select[Any]) -> Infrastructure:
    row = connection.execute(statement, {"id": infra_id}).mappings().first()
    if row is None:
        raise errors.InfrastructureIDNotFoundException(
            f"there is no infrastructure {infra_id!r}; `occo list` shows those that there are"
        )
    return Infrastructure.from_row(dict(row))


def all_of(connection: sa.Connection) -> Sequence[Infrastructure]:
    """Every infrastructure that is not torn down, oldest first."""
    found = connection.execute(
        sa.select(_T).where(_T.c.phase != instance.Phase.TORN_DOWN.value).order_by(_T.c.created_at)
    )
    return [Infrastructure.from_row(dict(row)) for row in found.mappings()]


_CHANGE = _T.update().where(_T.c.infra_id == sa.bindparam("is_infra"))


def change(connection: sa.Connection, infra_id: str, **values: Any) -> None:
    """Set columns of a row that this transaction has locked."""
    connection.execute(_CHANGE, {"is_infra": infra_id, **rows.of_table(_T, values)})


_REVISIONS = sa.select(_R.c.infra_id, _R.c.generation, _R.c.description).where(
    sa.tuple_(_R.c.infra_id, _R.c.generation).in_(sa.bindparam("keys", expanding=True))
)


class Descriptions:
    """Compiled descriptions by (infra_id, generation): they never change, so a process reads each once.

    limit: how many are kept.
    """

    def __init__(self, limit: int = 2000) -> None:
        self._cache: dict[tuple[str, int], description.StaticDescription] = {}
        self._limit = limit

    def load(
        self, connection: sa.Connection, wanted: Sequence[tuple[str, int]]
    ) -> Mapping[str, description.StaticDescription]:
        """The descriptions of (infra_id, generation) pairs, by infra_id, in at most one statement."""
        missing = [key for key in wanted if key not in self._cache]
        if missing:
            found = connection.execute(_REVISIONS, {"keys": missing})
            fresh = {
                (row.infra_id, row.generation): description.StaticDescription.from_json(row.infra_id, row.description)
                for row in found
            }
        else:
            fresh = {}
        result = {key[0]: fresh.get(key) or self._cache[key] for key in wanted}
        for key, value in fresh.items():
            while len(self._cache) >= self._limit:
                self._cache.pop(next(iter(self._cache)), None)
            self._cache[key] = value
        return result

    def one(self, connection: sa.Connection, infra: Infrastructure) -> description.StaticDescription:
        return self.load(connection, [(infra.infra_id, infra.generation)])[infra.infra_id]
