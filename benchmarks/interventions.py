"""What a user and a cloud's death wait for, and what a steady round asks of the cloud, with 1,000 infrastructures.

account_calls: calls to the cloud while each infrastructure is looked at once, beside the pages of the account's list.
attach_ms: from the call to the end of the first pass. detach_ms: from the call until nothing acts any more. heal_ms:
from an instance's death (the cloud lists it as failed) to the creation of its replacement.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Iterator

import sqlalchemy as sa

from benchmarks import measure
from benchmarks.place import Place, place, until
from benchmarks.population import populate
from occo_celery.uds import nodes, schedule, tables

INTERVAL = 10.0
NODES = 5
#: Instances in one page of a cloud's list (EC2's DescribeInstances).
PAGE = 1000


def run(size: measure.Size) -> Iterator[measure.Figure]:
    count, tries = size.of(1000, 20), size.of(100, 5)
    with place(interval=INTERVAL) as here:
        infra_ids = populate(here, count, nodes=NODES, interval=INTERVAL)
        for words in (("worker", "passes"), ("worker", "instructions"), ("beat",)):
            here.start(*words)
        until(lambda: _passes(here) >= 2 * count)  # all is at work
        rounds = size.repeat(lambda: _calls_of_a_round(here))
        yield measure.Figure(
            name="account_calls",
            unit="calls",
            runs=rounds,
            bar=("value", "<=", 2.0 * math.ceil(count * NODES / PAGE)),
        )
        detached: list[list[float]] = []
        attached: list[list[float]] = []
        healed: list[list[float]] = []
        for start in range(0, (1 if size.quick else size.runs) * 2 * tries, 2 * tries):
            some, others = infra_ids[start : start + tries], infra_ids[start + tries : start + 2 * tries]
            detached.append([_detach(here, one) for one in some])
            attached.append([_attach(here, one) for one in some])
            healed.append(_heal(here, others))
    for name, runs, limit in (
        ("attach_ms", attached, 200.0),
        ("detach_ms", detached, 200.0),
        ("heal_ms", healed, 1000 * INTERVAL + 500),
    ):
        yield measure.Figure(
            name=name,
            unit="ms, p99",
            runs=[1000 * _p99(some) for some in runs],
            bar=("value", "<=", limit),
            note=f"of {tries} in each run, median of all {1000 * statistics.median(itertools.chain(*runs)):.0f} ms",
        )


def _p99(some: list[float]) -> float:
    return sorted(some)[min(len(some) - 1, int(0.99 * len(some)))]


def _passes(here: Place) -> int:
    """Passes of all infrastructures so far."""
    with here.system.store.read() as connection:
        return int(connection.execute(sa.select(sa.func.sum(tables.schedule.c.passes))).scalar() or 0)


def _calls_of_a_round(here: Place) -> float:
    before = sum(here.cloud.calls().values())
    time.sleep(INTERVAL)
    return float(sum(here.cloud.calls().values()) - before)


def _detach(here: Place, infra_id: str) -> float:
    began = time.perf_counter()
    here.manager.detach(infra_id)
    return time.perf_counter() - began


def _attach(here: Place, infra_id: str) -> float:
    began = here.system.now()
    here.manager.attach(infra_id)
    ended: list[float] = []

    def seen() -> bool:
        with here.system.store.read() as connection:
            row = schedule.get(connection, infra_id)
        ended.extend([row.last_pass] if row is not None and row.last_pass is not None else [])
        return bool(ended)

    until(seen, step=0.005)
    return ended[0] - began


def _heal(here: Place, infra_ids: list[str]) -> list[float]:
    """One instance of each dies, a twentieth of an interval after the one before."""
    died: dict[str, float] = {}
    for infra_id in infra_ids:
        with here.system.store.read() as connection:
            victim = next(one for one in nodes.of(connection, infra_id) if one.node_name == f"node-{NODES - 1}")
        died[infra_id] = time.time()
        here.cloud.kill(victim.node_id, listed=True)
        time.sleep(INTERVAL / 20)
    found: dict[str, float] = {}

    def healed() -> bool:
        for infra_id in died.keys() - found.keys():
            born = [one.created for one in here.cloud.instances(infra_id=infra_id) if one.created > died[infra_id]]
            if born:
                found[infra_id] = born[0] - died[infra_id]
        return len(found) == len(died)

    until(healed, 5 * INTERVAL, step=0.1)
    return list(found.values())


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
