"""Connections and transactions of the UDS, on SQLite and PostgreSQL alike. Used by the shell only.

A transaction is either a reader or a writer, said when it begins: SQLite wants to know, or two readers that turn
writers deadlock. Driver errors become StoreUnavailable here, so that nobody above knows SQLAlchemy's.
"""

from __future__ import annotations

import contextlib
import math
import pathlib
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from occo_celery import errors

_WRITES = "occo_writes"
_USED = "occo_used"
#: Seconds; a connection that nobody has used for so long is tried before it is used again: the server may have been
#: restarted, or this host's clock set. Each time (SQLAlchemy's pool_pre_ping) it would be two round trips of a pass.
RESTED = 1.0
#: Times that each new connection asks for the database's time.
ASKED = 3

#: What PostgreSQL is told for each connection.
_SESSION = {
    # Without time limits a database behind a dead network would hold a worker slot for ever.
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # Rows are found by key where there is one, even by a plan that was made when the table was small: see
    # docs/decisions/0012. A statement that has to read all of a table would then seem worth compiling.
    "enable_seqscan": "off",
    "jit": "off",
}


class Store:
    """An engine with our ways of opening transactions, and the database's clock.

    url: an SQLAlchemy URL, ``sqlite:////path`` or ``postgresql+psycopg://...``. Connecting happens when first used;
    a Store made before a fork may be used after it (call ``dispose`` in the child).
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self.url = sa.make_url(_with_driver(url))
        self.offset = 0.0
        self._doubt = math.inf  # what offset may be wrong by, seconds
        if self.url.get_backend_name() == "sqlite":
            self.engine = _sqlite(self.url)
        elif self.url.get_backend_name() == "postgresql":
            self.engine = _postgresql(self.url, pool_size)
            event.listen(self.engine, "connect", lambda connection, _record: self._measure(connection, ASKED))
            event.listen(self.engine, "checkout", self._try_rested)
        else:
            raise errors.ConfigurationError(
                f"components.uds.url: {self.url.get_backend_name()} is not supported; use sqlite or postgresql"
            )

    @contextlib.contextmanager
    def write(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """A transaction that may write; committed at the end of the block, rolled back on an exception.

        alone: it is one statement (more would each be a transaction), so PostgreSQL need not be told where it begins
        and ends: two round trips less, a fifth of what a pass of what is ready takes.
        """
        with self._transaction(writes=True, alone=alone) as connection:
            yield connection

    @contextlib.contextmanager
    def read(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """A transaction that only reads. alone: as in ``write``."""
        with self._transaction(writes=False, alone=alone) as connection:
            yield connection

    def may_be_lost(self, connection: sa.Connection) -> None:
        """Have this transaction's commit not wait for the disk. Only where nothing is lost with it: if the database's
        host fails within a second it may be as if it had never been. Whatever another transaction commits
        later implies it."""
        if self.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool, alone: bool) -> Iterator[sa.Connection]:
        try:
            with self.engine.connect() as connection:
                if alone and self.engine.dialect.name == "postgresql":
                    connection.execution_options(isolation_level="AUTOCOMMIT")
                    yield connection
                    return
                connection.execution_options(**{_WRITES: writes})
                with connection.begin():
                    yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as problem:
            raise errors.StoreUnavailable(
                f"the database {self.url.render_as_string()} cannot be used: {_words(problem)}"
            ) from problem

    def now(self) -> float:
        """The database's time: every host that shares it agrees on leases. Known once there has been a connection."""
        return time.time() + self.offset

    def dispose(self) -> None:
        """Let go of all connections; to be called in a forked child, with the parent's left open to it."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        self.engine.dispose()

    def _try_rested(self, connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_USED, math.inf) > RESTED:
            try:
                self._measure(connection, 1)
            except Exception as problem:
                raise sa.exc.DisconnectionError from problem  # the pool makes another connection

    def _measure(self, connection: Any, times: int) -> None:
        """Ask for the database's time, outside of transactions. The answer that came most quickly says most: one that
        was long on its way, when this host was busy, must not make what is known worse. One that contradicts it tells
        that a clock was set."""
        measured = []
        connection.autocommit = True
        with connection.cursor() as cursor:
            for _ in range(times):
                before, began = time.time(), time.monotonic()
                cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
                there = float(cursor.fetchone()[0])
                doubt = (time.monotonic() - began) / 2
                measured.append((doubt, there - before - doubt))
        connection.autocommit = False
        doubt, offset = min(measured)
        if doubt < self._doubt or abs(offset - self.offset) > doubt + self._doubt:
            self.offset, self._doubt = offset, doubt


def _with_driver(url: str) -> str:
    """``postgres://`` and ``postgresql://`` as people write them mean psycopg 3 here."""
    scheme, colon, rest = url.partition("://")
    return f"postgresql+psycopg{colon}{rest}" if scheme in ("postgres", "postgresql") else url


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        pathlib.Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = sa.create_engine(url, connect_args={"timeout": 30.0}, pool_size=5, max_overflow=20)

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.create_function("floor", 1, _floor, deterministic=True)
        _write_ahead(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Alone of all statements this does not wait for locks: processes that open a new file at the same
    moment get "database is locked" at once."""
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == 99:
                raise
            time.sleep(0.02)
        else:
            return


def _floor(value: float) -> int:
    return int(value // 1)


def _postgresql(url: sa.URL, pool_size: int) -> sa.Engine:
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    arguments = {"connect_timeout": 5, "options": options}
    engine = sa.create_engine(url, pool_size=pool_size, max_overflow=20, pool_timeout=10, connect_args=arguments)

    @event.listens_for(engine, "checkin")
    def on_checkin(_connection: Any, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    return engine


def _words(problem: sa.exc.SQLAlchemyError) -> str:
    original = getattr(problem, "orig", None) or problem
    return str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
