"""Whether cloud accounts answer, as the calls of instructions find out. Called around each call.

Passes write down the same of the lists that they ask for. Nothing is written while all is well.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.uds import accounts
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)


class Hearing:
    """One a process: its threads know of each other's answers."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store, self._now = store, now
        self._last: dict[str, object] = {}
        self._shaky: set[str] = set()

    def suspect(self, names: Collection[str]) -> None:
        """These missed an answer lately, as SQL says: their next answer is to be written down."""
        self._shaky.update(names)

    @contextlib.contextmanager
    def call(self, account: str) -> Iterator[None]:
        """Around calls to an account. A call that is not answered counts only if no other was answered meanwhile: one
        that is slow is no silence."""
        before = self._last.get(account)
        try:
            yield
        except (errors.CloudSilent, errors.OutcomeUnknown) as problem:
            if self._last.get(account) is before:
                self._unanswered(account, problem)
            raise
        self._last[account] = object()
        if account in self._shaky:
            self._shaky.discard(account)
            self._write(account, lambda connection: accounts.answered(connection, account))

    def _unanswered(self, account: str, problem: errors.ResourceError) -> None:
        said = str(problem)
        if isinstance(problem, errors.CloudSilent):
            now = self._now()
            self._write(account, lambda connection: accounts.missed(connection, account, reason=said, now=now))
        else:
            self._write(account, lambda connection: accounts.doubted(connection, account, reason=said))

    def _write(self, account: str, change: Callable[[sa.Connection], None]) -> None:
        """What the call itself brought counts, whether this can be written or not."""
        try:
            with self._store.write() as connection:
                change(connection)
        except errors.StoreError as problem:
            log.warning("account %s: whether it answers was not written down: %s", account, problem)
