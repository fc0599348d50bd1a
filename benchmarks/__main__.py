"""All benchmarks, one after the other: ``make bench``. Exit code 1 when a bar was missed."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import (
    building,
    capacity,
    compiling,
    dispatch,
    interventions,
    lateness,
    measure,
    passes,
    planning,
    shares,
)


def run(size: measure.Size) -> Iterator[measure.Figure]:
    for one in (compiling, passes, shares, planning, dispatch, lateness, building, interventions, capacity):
        yield from one.run(size)


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
