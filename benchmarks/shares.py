"""What a pass of what is ready costs each part, in sets of 200 made one after the other by this process.

share.worker_us, share.database_us: processor time of a pass, beat's claim in the database's; share.wal_bytes: what it
adds to PostgreSQL's write-ahead log. The arithmetic of docs/explanation/a-million.md starts from these.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from benchmarks import measure
from benchmarks.place import Place, place
from benchmarks.population import populate
from occo_celery.uds import schedule


def run(size: measure.Size) -> Iterator[measure.Figure]:
    count = size.of(20_000, 400)
    with place() as here:
        populate(here, count)
        system, _ = here.inline()
        now = system.now()
        runs = []
        for number in range(2 if size.quick else size.runs + 1):
            now += 20.0
            before = time.process_time(), _database_time(), _log_position(here)
            with system.store.write() as connection:
                claims = schedule.claim_due(connection, now=now, limit=count, token=system.new_id(), batch=200)
            assert sum(system.enactor.run(claim) for claim in claims) == count
            after = time.process_time(), _database_time(), _log_position(here)
            if number:  # the first has met every statement for the first time
                runs.append([(late - early) / count for early, late in zip(before, after, strict=True)])
        system.store.close()
    worker, database, log = zip(*runs, strict=True)
    yield measure.Figure(name="share.worker_us", unit="us", runs=[1e6 * one for one in worker])
    yield measure.Figure(name="share.database_us", unit="us", runs=[1e6 * one for one in database])
    yield measure.Figure(name="share.wal_bytes", unit="bytes", runs=list(log))


def _database_time() -> float:
    """Seconds that all processes of PostgreSQL on this machine have computed, those included that have ended."""
    found = (one.info for one in psutil.process_iter(["name", "cpu_times"]))
    return float(sum(sum(one["cpu_times"][:4]) for one in found if "postgres" in (one["name"] or "")))


def _log_position(here: Place) -> float:
    with here.system.store.engine.connect() as connection:
        return float(connection.exec_driver_sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").scalar())


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
