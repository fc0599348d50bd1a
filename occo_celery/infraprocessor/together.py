"""Makes calls that wait for somebody else at the same time, and hands over what came of them as it comes.

Used by perform.py and create.py. The threads are kept: clients of clouds hold a connection in each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

Result = TypeVar("Result")


#: Seconds for which others are waited for once a call of a set has ended: what comes together is recorded together.
GATHER = 0.02


class Together:
    """limit: calls of a process that are under way at the same time; more wait for their turn."""

    def __init__(self, limit: int) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._pool: futures.Executor | None = None

    def run(self, calls: Sequence[Callable[[], Result]]) -> Iterator[Sequence[Result]]:
        """What the calls return, in sets: each holds all that has come since the last was taken."""
        if len(calls) < 2:
            yield from ([call()] for call in calls)
            return
        waiting = {self._executor().submit(call) for call in calls}
        while waiting:
            futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
            done, waiting = futures.wait(waiting, timeout=GATHER)
            yield [one.result() for one in done]

    def _executor(self) -> futures.Executor:
        with self._lock:
            if self._pool is None:
                self._pool = futures.ThreadPoolExecutor(self._limit, thread_name_prefix="calls")
            return self._pool
