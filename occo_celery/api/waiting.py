"""Waiting for something to come about in SQL, in the caller's process; tasks never wait."""

from __future__ import annotations

from collections.abc import Callable

from occo_celery import wiring

#: Seconds between two looks: at first, and at most.
FIRST_LOOK = 0.05
LONGEST_LOOK = 0.5


def until(done: Callable[[], bool], timeout: float | None, system: wiring.System) -> bool:
    """Look until ``done()`` or until the time-out (seconds; None waits for ever); True if it came about."""
    deadline = None if timeout is None else system.monotonic() + timeout
    pause = FIRST_LOOK
    while not done():
        left = LONGEST_LOOK if deadline is None else deadline - system.monotonic()
        if left <= 0:
            return False
        system.sleep(min(pause, left))
        pause = min(LONGEST_LOOK, pause * 1.3)
    return True
