"""The SQLite file in which the simulated cloud lives. Called by simulated_cloud only.

One file may hold many accounts and is used by many threads and processes at once: WAL, one connection a thread,
and every writing transaction begins IMMEDIATE, so that it never fails half-way for want of the lock. It is its own
file with its own small schema on purpose: the cloud must not share a transaction with the UDS, no real cloud does.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from occo_celery import errors

#: Seconds to wait for the lock of another process. Transactions last under a millisecond.
BUSY = 3.0

#: Instances are never deleted: a token answers for its instance also when that is long gone, as in EC2.
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS instances (
        number INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, instance_id TEXT NOT NULL UNIQUE,
        node_id TEXT NOT NULL, infra_id TEXT NOT NULL, node_name TEXT NOT NULL,
        image TEXT NOT NULL, instance_type TEXT NOT NULL, user_data TEXT,
        created REAL NOT NULL, ready_at REAL, broken INTEGER NOT NULL, killed_at REAL, dropped_at REAL, gone_at REAL
    )""",
    "CREATE INDEX IF NOT EXISTS instances_by_node ON instances (endpoint, node_id)",
    "CREATE INDEX IF NOT EXISTS instances_by_infra ON instances (endpoint, infra_id)",
    """CREATE TABLE IF NOT EXISTS behaviour (
        endpoint TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (endpoint, key)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS calls (
        endpoint TEXT, kind TEXT, count INTEGER NOT NULL, PRIMARY KEY (endpoint, kind)
    ) WITHOUT ROWID""",
)

#: Connections that a fork carried over. They must be neither used nor closed here: they are the parent's.
_inherited: list[sqlite3.Connection] = []


class Database:
    """The file, opened when first used, once a thread. Trouble with it is CloudSilent: nothing was changed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path).expanduser()
        self._local = threading.local()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of one statement. Raises CloudSilent."""
        try:
            return self._connection().execute(sql, parameters).fetchall()
        except (sqlite3.Error, OSError) as problem:
            raise self._silent(problem) from problem

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Carry out one statement, within `transaction` or as its own; returns the rows changed. CloudSilent."""
        try:
            return self._connection().execute(sql, parameters).rowcount
        except (sqlite3.Error, OSError) as problem:
            raise self._silent(problem) from problem

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone: what was read within still holds when it is written. Raises CloudSilent."""
        self.change("BEGIN IMMEDIATE")
        try:
            yield
            self.change("COMMIT")
        except BaseException:
            if self._connection().in_transaction:
                self.change("ROLLBACK")
            raise

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection in this process."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or held.pid != os.getpid():
            held = self._local.held = _Held(_open(self.path))
        return held.connection

    def _silent(self, problem: Exception) -> errors.CloudSilent:
        return errors.CloudSilent(f"the simulated cloud in {self.path} does not answer: {problem}")


class _Held:
    """A connection and the process it belongs to; closed when its thread ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.pid = os.getpid()

    def __del__(self) -> None:
        if self.pid == os.getpid():
            self.connection.close()
        else:
            _inherited.append(self.connection)


def _open(path: pathlib.Path) -> sqlite3.Connection:
    """A connection to the file, which is made when it is not there. It holds user data: for its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # used by one thread only, but perhaps closed by another: the garbage collector's
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode")  # makes the file
        if path.stat().st_size == 0:
            path.chmod(0o600)  # opening and closing it by hand would free SQLite's locks on it
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # survives a killed process; a power cut ends any cloud
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for a lock here when several do it at once, so we do."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
