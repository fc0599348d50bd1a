"""When beat puts rows on the queue that are due in phase, and that none is lost or early when it was killed.

late_100k: 100,000 rows at 10 s, everything taken off the queue at once: from when a row was due to its message; the
time from the start of beat to its first message; and the processor time of beat.
beat_restart: beat is killed and started again after 5 s; rows whose time came and that were not sent, and rows sent
before their time.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import sqlalchemy as sa

from benchmarks import dispatch, measure
from benchmarks.place import Place, place, until
from benchmarks.population import populate
from occo_celery.uds import schedule, tables

INTERVAL = 10.0
QUICK_INTERVAL = 2.0


def run(size: measure.Size) -> Iterator[measure.Figure]:
    yield from _restarted(size)
    yield from _late(size)


def _restarted(size: measure.Size) -> Iterator[measure.Figure]:
    rows = size.of(1000, 100)
    lost: list[float] = []
    early: list[float] = []
    interval = QUICK_INTERVAL if size.quick else INTERVAL
    with place(interval=interval) as here:
        populate(here, rows, nodes=1, interval=interval)
        for _ in range(1 if size.quick else size.runs):
            one = _restart(here)
            lost.append(one[0])
            early.append(one[1])
    for name, runs in (("lost", lost), ("early", early)):
        yield measure.Figure(
            name=f"beat_restart.{name}", unit="rows", runs=runs, bar=("value", "<=", 0.0), note=f"of {rows}"
        )


def _restart(here: Place) -> tuple[int, int]:
    """(rows lost, rows early). Each row has one time in an interval; what nobody sent while beat was away is due at
    once, and then again in phase."""
    phases, interval = _spread(here), here.settings.enactor.interval
    taker = dispatch.Taker(here, dispatch.QUEUE)
    beats = [here.start("beat")]
    try:
        until(lambda: taker.rows >= len(phases))
        here.end(beats[0])
        killed = time.time()
        time.sleep(5.0)
        beats.append(here.start("beat"))
        until(lambda: bool(taker.taken) and taker.taken[-1][0] > killed + 5.0, step=0.005)
        back = time.time()
        time.sleep(interval + 2.0)  # a whole interval, and what a row may be late
    finally:
        for beat in beats:
            here.end(beat)
        taker.end()
    sent: dict[str, list[float]] = {infra_id: [] for infra_id in phases}
    for when, infra_ids in taker.taken:
        for one in infra_ids:
            sent[one].append(when)
    # Each has come due between the kill and two seconds ago; the time that it came due in is a slot of its interval.
    lost = sum(not any(killed < when <= back + interval + 2.0 for when in times) for times in sent.values())
    early = sum(
        (first - phases[one]) // interval >= (second - phases[one]) // interval
        for one, times in sent.items()
        for first, second in itertools.pairwise(times)
    )
    return lost, early


def _late(size: measure.Size) -> Iterator[measure.Figure]:
    rows, rounds = size.of(100_000, 500), size.of(6, 1)
    interval = QUICK_INTERVAL if size.quick else INTERVAL
    with place(interval=interval) as here:
        populate(here, rows, nodes=1, interval=interval)
        found = [_lateness(here, rows, rounds) for _ in range(1 if size.quick else size.runs)]
    for name, unit, runs, limit in (
        ("p99_ms", "ms", [one.p99_ms for one in found], 250.0),
        ("beat_cores", "cores", [one.cores for one in found], 0.2),
        ("first_s", "s", [one.first_s for one in found], 1.0),
    ):
        yield measure.Figure(
            name=f"late_100k.{name}",
            unit=unit,
            runs=runs,
            bar=("value", "<=", limit),
            note=found[-1].note if name == "p99_ms" else "",
        )


@dataclass(frozen=True, slots=True)
class _Lateness:
    p99_ms: float
    cores: float
    first_s: float
    note: str


def _lateness(here: Place, rows: int, rounds: int) -> _Lateness:
    """One start of beat, the backlog of it, and so many intervals."""
    phases, interval = _spread(here), here.settings.enactor.interval
    taker = dispatch.Taker(here, dispatch.QUEUE)
    began = time.time()
    beat = here.start("beat")
    try:
        until(lambda: taker.taken, step=0.005)
        first = taker.taken[0][0] - began
        time.sleep(interval)
        process = psutil.Process(beat.pid)
        before, start = process.cpu_times(), time.time()
        time.sleep(rounds * interval)
        after, end = process.cpu_times(), time.time()
    finally:
        here.end(beat)
        taker.end()
    late = sorted(
        (when - phases[one]) % interval
        for when, infra_ids in taker.taken
        if start <= when <= end
        for one in infra_ids
    )
    expected = rows * (end - start) / interval
    return _Lateness(
        p99_ms=1000 * late[int(0.99 * len(late))],
        cores=(after.user + after.system - before.user - before.system) / (end - start),
        first_s=first,
        note=f"{len(late)} of {expected:.0f} rows in the last run, median {1000 * statistics.median(late):.0f} ms",
    )


def _spread(here: Place) -> dict[str, float]:
    """Rows due in phase, from now on; their phases."""
    table, now = tables.schedule, here.system.now()
    with here.system.store.write() as connection:
        connection.execute(table.update().values(next_due=schedule.following(now), claim_token=None))
        rows = connection.execute(sa.select(table.c.infra_id, table.c.phase))
        return {row.infra_id: row.phase for row in rows}


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
