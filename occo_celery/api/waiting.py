"""Waiting for something to come about in SQL, in the caller's process; tasks never wait."""

from __future__ import annotations

from collections.abc import Callable

from occo_celery import wiring

#: Seconds between two looks: at first, and at most; in between this share of the time that was waited already.
FIRST_LOOK = 0.02
LONGEST_LOOK = 0.5
LOOK_SHARE = 0.02


def until(done: Callable[[], bool], timeout: float | None, system: wiring.System) -> bool:
    """Look until ``done()`` or until the time-out (seconds; None waits for ever); True if it came about."""
    began = system.monotonic()
    while not done():
        waited = system.monotonic() - began
        left = LONGEST_LOOK if timeout is None else timeout - waited
        if left <= 0:
            return False
        system.sleep(min(left, max(FIRST_LOOK, min(LONGEST_LOOK, LOOK_SHARE * waited))))
    return True
