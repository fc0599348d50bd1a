"""The fixed seeds, over two processes; any violation, and any kind of fault that never came, fails."""

from __future__ import annotations

import time

import pytest

from occo_celery.simulation import runs, server
from tests.simulation import seeds

MINUTES = 30.0
MINUTES_POSTGRESQL = 10.0


@pytest.mark.parametrize(("seed", "mode"), seeds.ONCE_FAILED)
def test_a_seed_that_once_failed(seed: int, mode: str) -> None:
    (result,) = runs.spread([seed], mode, MINUTES, 1)
    assert result.violations == ()


@pytest.mark.seeds
@pytest.mark.timeout(1200)
def test_the_fixed_seeds() -> None:
    began, total = time.monotonic(), runs.Total()
    for result in runs.spread(seeds.FIXED, None, MINUTES, 2):
        total.add(result)
    lines = list(total.lines(MINUTES))
    print(f"{lines[-1]}\n{total.virtual / 3600 / (time.monotonic() - began):.2f} virtual hours a second")
    assert total.runs == len(seeds.FIXED)
    assert not total.failed, "\n".join(lines[:-1])
    assert not total.never


@pytest.mark.seeds
@pytest.mark.timeout(1200)
def test_the_fixed_seeds_with_transactions_that_interleave() -> None:
    began, total = time.monotonic(), runs.Total()
    with server.databases(2) as urls:
        for result in runs.spread(seeds.FIXED_POSTGRESQL, None, MINUTES_POSTGRESQL, 2, urls):
            total.add(result)
    lines = list(total.lines(MINUTES_POSTGRESQL, "postgresql"))
    print(f"{lines[-1]}\n{total.virtual / 3600 / (time.monotonic() - began):.2f} virtual hours a second, PostgreSQL")
    assert total.runs == len(seeds.FIXED_POSTGRESQL)
    assert not total.failed, "\n".join(lines[:-1])
