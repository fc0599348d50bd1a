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

from occo_celery.simulation import baton
from occo_celery.uds import tables

#: Statements are compiled once for all runs of a process.
_compiled: dict[Any, Any] = {}


@functools.cache
def _template() -> sqlite3.Connection:
    """The tables, made once a process; never closed."""
    connection = _connect()
    engine = _engine(connection)
    tables.metadata.create_all(engine)
    return connection


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)  # begins transactions itself, before it writes
    connection.create_function("floor", 1, math.floor, deterministic=True)
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _engine(connection: sqlite3.Connection) -> sa.Engine:
    return sa.create_engine(
        "sqlite://", creator=lambda: connection, poolclass=sa.StaticPool, pool_reset_on_return=None
    )


class Database:
    """One run's database."""

    url = "sqlite://"

    def __init__(self) -> None:
        self._connection = _connect()
        _template().backup(self._connection)
        self.engine = _engine(self._connection).execution_options(compiled_cache=_compiled)

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
