"""What a program knows of the database's clock: the most precise of what it has measured, until a clock is set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from occo_celery.uds import store as stores


class Trip:
    """A database on the way to which time passes, and a host whose clock is before that of the database. Stands for
    a connection, and for the module ``time``."""

    autocommit = False

    def __init__(self) -> None:
        self.true, self.there_and_back, self.behind = 1000.0, (0.0, 0.0), 0.0

    def time(self) -> float:
        return self.true - self.behind

    def monotonic(self) -> float:
        return self.true

    @contextmanager
    def cursor(self) -> Iterator[Trip]:
        yield self

    def execute(self, _statement: str) -> None:
        there, back = self.there_and_back
        self.told = self.true + there
        self.true += there + back

    def fetchone(self) -> Sequence[Any]:
        return (self.told,)


QUICK, SLOW, SLOWER = (0.0005, 0.0005), (0.0, 0.4), (0.0, 2.0)


@pytest.mark.parametrize(
    ("measurements", "known"),
    [
        pytest.param([(QUICK, 5.0)], 5.0, id="quick"),
        pytest.param([(SLOW, 5.0)], 4.8, id="slow: off by half of what it took, at most"),
        pytest.param([(QUICK, 5.0), (SLOW, 5.0)], 5.0, id="a slow one makes what is known no worse"),
        pytest.param([(SLOW, 5.0), (SLOWER, 5.0), (QUICK, 5.0)], 5.0, id="a quick one makes it better"),
        pytest.param([(QUICK, 5.0), (QUICK, 3.0)], 3.0, id="a clock was set"),
        pytest.param([(QUICK, 5.0), (SLOW, 3.0)], 2.8, id="a clock was set, seen by a slow one"),
    ],
)
def test_what_is_known(
    monkeypatch: pytest.MonkeyPatch, measurements: Sequence[tuple[tuple[float, float], float]], known: float
) -> None:
    trip = Trip()
    monkeypatch.setattr(stores, "time", trip)
    store = stores.Store("postgresql://nowhere/occo")
    for trip.there_and_back, trip.behind in measurements:
        store._measure(trip, stores.ASKED)
    assert store.offset == pytest.approx(known)
    assert store.now() == pytest.approx(trip.time() + known)


def test_of_several_answers_the_quickest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    trip = Trip()
    monkeypatch.setattr(stores, "time", trip)
    asks = iter([SLOW, QUICK, SLOWER])
    ask = trip.execute

    def execute(statement: str) -> None:
        trip.there_and_back = next(asks)
        ask(statement)

    monkeypatch.setattr(trip, "execute", execute)
    store = stores.Store("postgresql://nowhere/occo")
    store._measure(trip, stores.ASKED)
    assert store.offset == pytest.approx(0.0)
