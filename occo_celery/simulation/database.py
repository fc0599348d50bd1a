"""The UDS of a run: the real tables in SQLite in memory, on one connection that all actors share.

A transaction is atomic here: nobody lets go of the baton in it, so one connection is enough, and nothing is lost by
it but durability.
"""

from __future__ import annotations

import functools
import math
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from occo_celery.simulation import baton
from occo_celery.uds import tables

#: Statements are compiled once for all runs of a process: (dialect, compiled statements). SQLAlchemy keeps what it
#: has compiled by the dialect object, and each engine has one of its own.
_compiled: dict[str, tuple[sa.Dialect, dict[Any, Any]]] = {}


def remembering(engine: sa.Engine) -> sa.Engine:
    """The engine, with what others on the same kind of database have compiled before."""
    engine.dialect, compiled = _compiled.setdefault(engine.name, (engine.dialect, {}))
    return engine.execution_options(compiled_cache=compiled)


@functools.cache
def _template() -> sqlite3.Connection:
    """The tables, made once a process; never closed."""
    connection = _connect()
    engine = _engine(connection)
    tables.metadata.create_all(engine)
    return connection


def _connect() -> sqlite3.Connection:
    # We say BEGIN ourselves: it would not do so before a statement that begins with WITH.
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    connection.create_function("floor", 1, math.floor, deterministic=True)
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _engine(connection: sqlite3.Connection) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://", creator=lambda: connection, poolclass=sa.StaticPool, pool_reset_on_return=None
    )
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN"))
    return engine


class Database:
    """One run's database."""

    url = "sqlite://"

    def __init__(self) -> None:
        self._connection = _connect()
        _template().backup(self._connection)
        self.engine = remembering(_engine(self._connection))

    @property
    def changes(self) -> int:
        """Grows with every row written."""
        return self._connection.total_changes

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What is committed, read beside the system."""
        return self._connection.execute(sql, parameters).fetchall()

    def attend(self, the_baton: baton.Baton, violated: Callable[[str, str], None]) -> None:
        """Nothing interleaves here."""

    def begun(self) -> None:
        """The present actor opens a transaction."""

    def ended(self) -> None:
        """It has ended."""

    def close(self) -> None:
        self._connection.close()
