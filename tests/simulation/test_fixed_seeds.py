"""The fixed seeds, over two processes; any violation, and any kind of fault that never came, fails."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from occo_celery.simulation import runs, server, world
from tests.simulation import seeds

MINUTES = 30.0
JOBS = 2


@pytest.mark.parametrize(("seed", "mode"), seeds.ONCE_FAILED)
def test_a_seed_that_once_failed(seed: int, mode: str) -> None:
    (result,) = runs.spread([seed], mode, MINUTES, 1)
    assert result.violations == ()


def test_a_seed_is_one_run_on_postgresql_too() -> None:
    with server.databases(1) as urls:
        first, second = (world.World(3, "tokens", MINUTES, url=urls[0]).run() for _ in range(2))
    assert first == second
    assert first.violations == ()


@pytest.mark.seeds
@pytest.mark.timeout(2400)  # at low priority, beside other tests
def test_the_fixed_seeds() -> None:
    began = time.monotonic()
    _run("sqlite", seeds.FIXED, ())
    with server.databases(JOBS) as urls:
        _run("postgresql", seeds.INTERLEAVED, urls)
    print(f"{time.monotonic() - began:.0f} s in all")


def _run(engine: str, some: Sequence[int], urls: Sequence[str]) -> None:
    began, total = time.monotonic(), runs.Total()
    for result in runs.spread(some, None, MINUTES, JOBS, urls):
        total.add(result)
    took, lines = time.monotonic() - began, list(total.lines(MINUTES, engine))
    print(f"{engine}: {lines[-1]}\n{took:.0f} s, {total.virtual / 3600 / took:.2f} virtual hours a second")
    assert total.runs == len(some)
    assert not total.failed, "\n".join(lines[:-1])
    assert not total.never
