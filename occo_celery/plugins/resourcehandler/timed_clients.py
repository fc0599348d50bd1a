"""Clients of a cloud's SDK whose time limit is set when they are made: one for each limit, kept for each process.

Used by the handlers whose SDK takes no time limit with a call. Clients are made in the process that uses them, as
connections do not survive a fork.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from occo_celery import errors

#: Time limits that there are clients for, seconds.
LIMITS = (1, 2, 4, 8, 16, 32, 64)

Client = TypeVar("Client")


class TimedClients(Generic[Client]):
    """connect: makes a client whose calls take so many seconds at most, and takes no longer itself. Where it asks the
    cloud something and has no answer, it raises CloudSilent. where: names the cloud in errors."""

    def __init__(self, connect: Callable[[int], Client], where: str) -> None:
        self._connect, self._where = connect, where
        self._lock = threading.Lock()  # never held while something is waited for
        self._made: dict[tuple[int, int], Client] = {}
        self._making: dict[tuple[int, int], threading.Event] = {}

    def get(self, deadline: float, late: type[errors.ResourceError]) -> Client:
        """The client for one call that must end by the deadline (time.monotonic), made when first asked for: by one
        thread, and the others wait for it, each no longer than it may.

        Raises ``late`` when less than a second is left, or the cloud was silent before anything was asked for; and
        what else ``connect`` raises, unless ``late`` is OutcomeUnknown: whoever has begun something knows no more.
        """
        while (left := deadline - time.monotonic()) >= LIMITS[0]:
            key = (os.getpid(), max(limit for limit in LIMITS if limit <= left))
            with self._lock:
                if key in self._made:
                    return self._made[key]
                others = self._making.get(key)
                if others is None:
                    self._making[key] = threading.Event()
            if others is not None:
                others.wait(left)
                continue
            try:
                self._make(key)
            except errors.ResourceError as problem:
                if isinstance(problem, errors.CloudSilent) or late is errors.OutcomeUnknown:
                    raise late(str(problem)) from problem
                raise
            # to make one may take a second: what is left then is counted again
        raise late(f"{self._where}: no time was left for the call")

    def _make(self, key: tuple[int, int]) -> None:
        """Whether it succeeds or not, those who wait go on: with it, or one of them tries again."""
        try:
            client = self._connect(key[1])
            with self._lock:
                self._made[key] = client
        finally:
            with self._lock:
                self._making.pop(key).set()
