"""Passes of infrastructures that are ready, made by a worker, beside a task that does nothing on the same worker.

pass_single: one pass a message. pass_batched: what is due together in one message.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks import measure
from benchmarks.place import Place, place, until
from benchmarks.population import populate
from benchmarks.worker import NOTHING
from occo_celery import dispatch
from occo_celery.cli import programs
from occo_celery.uds import schedule

QUEUE = "passes"
ROOT = pathlib.Path(__file__).parents[1]


def start_worker(here: Place) -> subprocess.Popen[bytes]:
    """A worker of passes as `occo worker passes` makes it, with the task that does nothing; it has its first message
    behind it."""
    here.environment["PYTHONPATH"] = str(ROOT)
    pool, processes = programs.POOLS[programs.Queue.PASSES]
    options = ["-Q", QUEUE, "-P", pool, "-c", str(processes), "-E", "--without-mingle", "--without-gossip"]
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.worker", "worker"]
    return here.start(*options, "--loglevel", "WARNING", command=command)


def rate(here: Place, fill: Callable[[], int]) -> float:
    """Things a second: ``fill`` puts messages on the queue while nobody works, and says how many things that is."""
    client = here.redis()
    count = fill()
    messages = client.llen(QUEUE)
    worker = start_worker(here)
    try:
        until(lambda: client.llen(QUEUE) < messages - 4, step=0.002)  # it is at work
        began, first = time.monotonic(), client.llen(QUEUE)
        # Looked at seldom: each 2 ms it took a twelfth of a core, a twentieth of all work, from what it looks at.
        until(lambda: client.llen(QUEUE) == 0 and client.hlen("unacked") == 0, 600)
        return count * (first / messages) / (time.monotonic() - began)
    finally:
        here.end(worker)
        client.flushall()


def run(size: measure.Size) -> Iterator[measure.Figure]:
    single, batched, nothing = size.of(2000, 200), size.of(20_000, 2000), size.of(5000, 200)
    with place() as here:
        populate(here, batched)
        clock = [here.system.now()]

        def claims(count: int, batch: int) -> int:
            clock[0] += 20.0
            with here.system.store.write() as connection:
                found = schedule.claim_due(
                    connection, now=clock[0], limit=count, token=here.system.new_id(), batch=batch
                )
            for claim in found:
                here.system.send.passes(claim)
            return sum(len(claim.infra_ids) for claim in found)

        def no_operations() -> int:
            app = dispatch.make_app(here.settings)
            for _ in range(nothing):
                app.send_task(NOTHING, queue=QUEUE)
            return nothing

        limit = here.settings.enactor.batch
        results: dict[str, list[float]] = {"nothing": [], "single": [], "batched": []}
        for number in range(1 if size.quick else size.runs + 1):
            measured = {
                "nothing": rate(here, no_operations),
                "single": rate(here, lambda: claims(single, 1)),
                "batched": rate(here, lambda: claims(batched, limit)),
            }
            for name, value in measured.items() if number or size.quick else ():
                results[name].append(value)
    peer, unit = "a task that does nothing", "passes/s"
    for name, bar in (("single", 0.4), ("batched", 5.0)):
        yield measure.Figure(
            name=f"pass_{name}",
            unit=unit,
            runs=results[name],
            peer=peer,
            peer_runs=results["nothing"],
            bar=("ratio", ">=", bar),
        )


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
