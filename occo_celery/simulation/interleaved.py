"""The UDS of a run on PostgreSQL: transactions of different actors interleave, statement by statement.

Before each statement of a transaction is a switch point. A statement that has to wait for a lock waits for an actor
that has no turn: it is given up at once (lock_timeout, within a savepoint), its actor is parked, and it is tried
again when a transaction has ended. So who waits for whom depends on the seed only, not on time (unless the machine is
so busy that a free lock is not had in PATIENCE). When all that have a transaction open wait, also after LOOKS, they
wait for each other: a deadlock, which the order of our locks should make impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from occo_celery.simulation import baton, database
from occo_celery.uds import tables

#: Within this a lock that nobody holds is had, milliseconds.
PATIENCE = 5
#: Times that all try again before they are said to wait for each other.
LOOKS = 3
_OPTIONS = f"-c lock_timeout={PATIENCE}ms -c synchronous_commit=off"


class Deadlock(Exception):
    """Every open transaction waits for another."""


class Database:
    """One run's database. url: of a database of the simulation's own, whose tables are made and emptied."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.StaticPool)
        tables.metadata.create_all(self._admin)
        names = ", ".join(tables.metadata.tables)
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
        self._beside = self._admin.raw_connection()
        self.engine = database.remembering(
            sa.create_engine(url, pool_size=20, max_overflow=20, connect_args={"options": _OPTIONS})
        )
        self.changes = 0  #: grows with every statement that wrote rows
        self._baton: baton.Baton | None = None
        self._open: set[baton.Actor] = set()
        self._waiting: list[baton.Actor] = []
        self._looks = 0

    def attend(self, the_baton: baton.Baton, violated: Callable[[str, str], None]) -> None:
        """From now on transactions interleave."""
        self._baton, self._violated = the_baton, violated
        event.listen(self.engine, "do_execute", self._execute)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What is committed, read beside the system."""
        cursor = self._beside.cursor()
        cursor.execute(sql.replace("?", "%s"), tuple(parameters) or None)
        return list(cursor.fetchall())

    def close(self) -> None:
        if self._baton is not None:
            event.remove(self.engine, "do_execute", self._execute)  # it is the dialect's, which others share
        self._beside.close()
        self.engine.dispose()
        self._admin.dispose()

    # --- transactions ---------------------------------------------------------------------------------------------

    def begun(self) -> None:
        """The present actor opens a transaction."""
        if self._baton is not None and self._baton.current is not None:
            self._open.add(self._baton.current)

    def ended(self) -> None:
        """It has ended: whoever waits for a lock tries again."""
        if self._baton is None or self._baton.current is None:
            return
        self._open.discard(self._baton.current)
        self._looks = 0
        self._wake_all()

    def _execute(self, cursor: Any, statement: str, parameters: Any, _: Any) -> bool:
        """Carry out a statement when its locks are free."""
        assert self._baton is not None
        me = self._baton.current
        if me is None or me.life is None:
            return False
        me.life.point("before statement")
        if statement.startswith("SELECT") and " FOR " not in statement:
            return False  # it waits for nobody
        if self._open == {me}:  # nobody holds a lock
            cursor.execute(statement, parameters)
        else:
            self._when_free(me, cursor, statement, parameters)
        if not statement.startswith("SELECT"):
            self.changes += max(0, cursor.rowcount)
        return True

    def _when_free(self, me: baton.Actor, cursor: Any, statement: str, parameters: Any) -> None:
        beside = cursor.connection.cursor()
        while True:
            beside.execute("SAVEPOINT turn")
            try:
                cursor.execute(statement, parameters)
            except Exception as problem:
                if getattr(problem, "sqlstate", None) != "55P03":  # lock_not_available
                    raise
            else:
                return
            beside.execute("ROLLBACK TO SAVEPOINT turn")
            self._wait(me)

    def _wait(self, me: baton.Actor) -> None:
        assert self._baton is not None
        self._baton.note("waits for a lock")
        self._waiting.append(me)
        if self._open <= set(self._waiting):
            if self._looks == LOOKS:
                self._violated("deadlock", f"{[one.name for one in self._waiting]} wait for each other")
                raise Deadlock
            self._looks += 1
            self._wake_all()
        self._baton.park()
        me.life.check()

    def _wake_all(self) -> None:
        assert self._baton is not None
        for actor in self._waiting:
            self._baton.wake(actor)
        self._waiting.clear()
