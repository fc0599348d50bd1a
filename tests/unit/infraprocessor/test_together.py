"""Calls that wait for somebody else are made at the same time, and handed over as they end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from occo_celery.infraprocessor.together import Together


def test_a_slow_call_holds_up_no_other() -> None:
    """It ends only when the others have been handed over."""
    handed = threading.Event()
    sets = Together(4).run([lambda: "a", lambda: "b", lambda: str(handed.wait(30))])
    early: list[str] = []
    while len(early) < 2:
        early += next(sets)
    handed.set()
    assert sorted(early) == ["a", "b"]
    assert [one for some in sets for one in some] == ["True"]


def test_all_are_under_way_at_once() -> None:
    barrier = threading.Barrier(8)
    calls: list[Callable[[], int]] = [lambda: barrier.wait(30)] * 8
    assert sorted(one for some in Together(8).run(calls) for one in some) == list(range(8))


def test_nothing_and_one() -> None:
    assert list(Together(1).run([])) == []
    assert list(Together(1).run([lambda: 1])) == [[1]]
