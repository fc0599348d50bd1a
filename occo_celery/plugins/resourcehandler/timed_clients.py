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
    """connect: makes a client whose calls take so many seconds at most. where: names the cloud in errors."""

    def __init__(self, connect: Callable[[int], Client], where: str) -> None:
        self._connect, self._where = connect, where
        self._lock = threading.Lock()
        self._made: dict[tuple[int, int], Client] = {}

    def get(self, deadline: float, late: type[errors.ResourceError]) -> Client:
        """The client for one call that must end by the deadline (time.monotonic), made when first asked for.

        Raises ``late`` when less than a second is left, and what ``connect`` raises.
        """
        while (left := deadline - time.monotonic()) >= LIMITS[0]:
            key = (os.getpid(), max(limit for limit in LIMITS if limit <= left))
            with self._lock:
                if key in self._made:
                    return self._made[key]
                self._made[key] = self._connect(key[1])
            # to make one may take a second: what is left then is counted again
        raise late(f"{self._where}: no time was left for the call")
