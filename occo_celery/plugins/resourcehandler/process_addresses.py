"""Which node has which loopback address, and which node_ids have ended: a small SQLite file beside the folders.

The operating system takes the whole of 127.0.0.0/8 for this host (on macOS only 127.0.0.1, see check). What has
ended is remembered so that a creation that comes late makes nothing. Used by process.py.
"""

from __future__ import annotations

import contextlib
import ipaddress
import pathlib
import socket
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator

from occo_celery import errors

#: Seconds for which an ended node_id is remembered; far beyond any message or stalled process.
REMEMBERED = 7 * 86400.0
#: Seconds to wait for others who write to the file.
BUSY = 5.0

_TABLE = """CREATE TABLE IF NOT EXISTS nodes (
    node_id TEXT PRIMARY KEY,
    address INTEGER UNIQUE,  -- null: it holds none any more
    ended REAL               -- seconds since the epoch; null: it has not
)"""


def loopback(text: str) -> ipaddress.IPv4Network:
    """The network to lease from. Raises ValueError."""
    network = ipaddress.IPv4Network(text)
    if not network.subnet_of(ipaddress.IPv4Network("127.0.0.0/8")):
        raise ValueError(f"{text} is not within 127.0.0.0/8")
    return network


def check(address: str) -> None:
    """Raises TransientError if no process here can listen on an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as problem:
            raise errors.TransientError(
                f"{address} cannot be used on this host: {problem.strerror}; on macOS each address needs an alias "
                f"first: sudo ifconfig lo0 alias {address}"
            ) from problem


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Switch WAL on, once and for all. SQLite does not wait where others do it at the same moment; this does."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.005)


class Addresses:
    """The leases of one root. Connections live as long as a call: the object goes from process to process."""

    def __init__(
        self, path: pathlib.Path, network: ipaddress.IPv4Network, now: Callable[[], float] = time.time
    ) -> None:
        self._path, self._network, self._now = path, network, now

    def lease(self, node_id: str, avoid: Collection[str]) -> str:
        """The address of a node: its own, or the lowest free one. Raises CapacityError.

        avoid: addresses that are in use although nothing is known of them here (another installation's).
        """
        with self._transaction() as connection:
            row = connection.execute("SELECT address FROM nodes WHERE node_id = ?", (node_id,)).fetchone()
            if row is not None and row[0] is not None:
                return str(ipaddress.IPv4Address(row[0]))
            taken = {each for (each,) in connection.execute("SELECT address FROM nodes WHERE address IS NOT NULL")}
            address = self._lowest(taken, avoid)
            connection.execute("INSERT INTO nodes (node_id, address) VALUES (?, ?)", (node_id, int(address)))
        return str(address)

    def release(self, node_id: str) -> None:
        """A node that never ran needs no address and may be made another time."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM nodes WHERE node_id = ? AND ended IS NULL", (node_id,))

    def end(self, node_id: str) -> None:
        """A node has ended; it holds its address until it is forgotten."""
        with self._transaction() as connection:
            self._end(connection, node_id)

    def forget(self, node_id: str) -> None:
        """Free the address of a node that has ended."""
        with self._transaction() as connection:
            self._end(connection, node_id)
            connection.execute("UPDATE nodes SET address = NULL WHERE node_id = ?", (node_id,))
            connection.execute("DELETE FROM nodes WHERE address IS NULL AND ended < ?", (self._now() - REMEMBERED,))

    def has_ended(self, node_id: str) -> bool:
        with self._transaction() as connection:
            row = connection.execute("SELECT ended FROM nodes WHERE node_id = ?", (node_id,)).fetchone()
        return row is not None and row[0] is not None

    def _end(self, connection: sqlite3.Connection, node_id: str) -> None:
        connection.execute(
            "INSERT INTO nodes (node_id, ended) VALUES (?, ?) "
            "ON CONFLICT (node_id) DO UPDATE SET ended = coalesce(ended, excluded.ended)",
            (node_id, self._now()),
        )

    def _lowest(self, taken: Collection[int], avoid: Collection[str]) -> ipaddress.IPv4Address:
        for address in self._network:
            number = int(address)
            if number % 256 not in (0, 255) and number not in taken and str(address) not in avoid:
                return address
        raise errors.CapacityError(f"all addresses of {self._network} are leased")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One immediate transaction; raises TransientError where the file is busy or cannot be used."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=BUSY, isolation_level=None)) as connection:
                _log_ahead(connection)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    connection.execute(_TABLE)
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as problem:
            raise errors.TransientError(f"{self._path}: {problem}") from problem
