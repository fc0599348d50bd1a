"""What touches the outside, made mortal and unreliable: transactions and cloud calls. Messages: see broker.py.

Before and after each is a switch point; once the incarnation is dead every port of it refuses.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.enactor import observe
from occo_celery.infraprocessor import together
from occo_celery.plugins.resourcehandler import base, clouds
from occo_celery.simulation import baton, database, faults, interleaved, life
from occo_celery.uds.store import Store

CALLS = ("create", "observe", "drop", "sweep")


class Outages:
    """Until when the database and the broker are gone for everybody, and beats are stopped."""

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        """All are back."""
        self.database = self.broker = self.beats = 0.0


class MortalStore(Store):
    """A store of one incarnation on the run's database. committed: called after each transaction that wrote.

    A statement alone is a transaction that was begun here, too: one that waits for a lock needs that, and it is seen
    by others in no other way."""

    def __init__(
        self,
        data: database.Database | interleaved.Database,
        mine: life.Life,
        the_baton: baton.Baton,
        trouble: faults.Faults,
        outages: Outages,
        committed: Callable[[], None],
    ) -> None:
        self.url, self.offset, self.engine = sa.make_url(data.url), 0.0, data.engine
        self._data, self._life, self._baton = data, mine, the_baton
        self._faults, self._outages, self._committed = trouble, outages, committed
        self._losing: sa.Connection | None = None

    def may_be_lost(self, connection: sa.Connection) -> None:
        """It is as if it had never been, and whoever made it takes no notice. Nobody has seen it."""
        super().may_be_lost(connection)
        if self._faults.happens("what may be lost is lost"):
            self._losing = connection

    @contextlib.contextmanager
    def write(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        self._life.point("before transaction")
        self._refuse("transaction refused")
        self._life.checked_at = self._baton.now
        before = self._data.changes
        self._data.begun()
        try:
            with super().write() as connection:
                yield connection
                if self._losing is connection:
                    connection.rollback()
        finally:
            self._data.ended()
        if self._data.changes != before:
            self._committed()
        self._life.point("after transaction")
        if self._faults.happens("commit whose answer is lost"):
            raise errors.StoreUnavailable("simulated: the connection broke in the commit, which was carried out")

    @contextlib.contextmanager
    def read(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        self._life.point("before read")
        self._refuse("transaction refused")
        self._data.begun()
        try:
            with super().read() as connection:
                yield connection
        finally:
            self._data.ended()
        self._life.point("after read")

    def _refuse(self, kind: str) -> None:
        if self._outages.database > self._baton.now:
            raise errors.StoreUnavailable("simulated: the database is gone")
        if self._faults.happens(kind):
            raise errors.StoreUnavailable("simulated: the database refused a transaction")


class MortalHandler:
    """A resource handler whose calls are ports."""

    def __init__(self, handler: base.ResourceHandler, mine: life.Life) -> None:
        self._handler, self._life = handler, mine

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._handler, name)
        if name not in CALLS:
            return call

        def port(*args: Any, **kwargs: Any) -> Any:
            self._life.point(f"before {name}")
            result = call(*args, **kwargs)
            self._life.point(f"after {name}")
            return result

        return port


class MortalClouds(clouds.Clouds):
    """The accounts of one incarnation."""

    def __init__(
        self, mine: life.Life, options: Mapping[str, Any], load: Callable[[str], type[base.ResourceHandler]]
    ) -> None:
        super().__init__(options, lambda _: {}, load)
        self._life = mine

    def handler(self, account: str, section: Mapping[str, Any]) -> Any:
        return MortalHandler(super().handler(account, section), self._life)


class _Inline(futures.Executor):
    """Does what it is given in the caller's thread: that one has the baton."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as problem:  # noqa: BLE001  # raised by result()
            future.set_exception(problem)
        return future


class InlineObserver(observe.Observer):
    """Asks the accounts one after the other, each at a time that the seed decides."""

    def _executor(self) -> Any:
        return _Inline()


class InlineTogether(together.Together):
    """Makes calls one after the other; how many answers come at once is for the seed to decide."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(1)
        self._rng = rng

    def run(self, calls: Sequence[Callable[[], together.Result]]) -> Iterator[Sequence[together.Result]]:
        rest = list(calls)
        while rest:
            count = self._rng.randint(1, len(rest))
            yield [call() for call in rest[:count]]
            rest = rest[count:]
