"""What beat puts on the queue; beside RedBeat and sqlalchemy-celery-beat.

dispatch_10k: rows a second while all of 10,000 are due. two_beats: of 60,000 rows, with one beat and with two, in
turn; rows sent twice. 10,000 are over in a fifth of a second: a second beat, which looks every 0.1 s, hardly joins.
"""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from benchmarks import measure
from benchmarks.place import Place, place, until
from benchmarks.population import populate
from occo_celery.uds import programs, tables

QUEUE = "passes"
#: Seconds: an interval in which no row falls due twice during a measurement.
LONG = 1e7
ROOT = pathlib.Path(__file__).parents[1]
#: Module, scheduler, and of how many entries one is waited for: the slow one would take minutes for each run.
PEERS = {
    "celery-redbeat": ("benchmarks.redbeat_app", "redbeat.RedBeatScheduler", 2),
    "sqlalchemy-celery-beat": ("benchmarks.sql_beat_app", "sqlalchemy_celery_beat.schedulers:DatabaseScheduler", 10),
}


class Taker:
    """Takes every message off a queue at once. taken: (time, what it was about) of each row."""

    def __init__(self, here: Place, queue: str) -> None:
        self.taken: list[tuple[float, list[str]]] = []
        self.rows = 0
        self._client, self._queue, self._ended = here.redis(), queue, threading.Event()
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while not self._ended.is_set():
            found = self._client.blpop([self._queue], timeout=0.2)
            if found is not None:
                now = time.time()
                args = json.loads(base64.b64decode(json.loads(found[1])["body"]))[0]
                infra_ids = args[1] if len(args) > 1 else [""]
                self.taken.append((now, infra_ids))
                self.rows += len(infra_ids)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._client.flushall()


def _due(here: Place, when: float) -> None:
    """When all rows are due; none is claimed."""
    with here.system.store.write() as connection:
        connection.execute(tables.schedule.update().values(next_due=when, claim_token=None))


def _working(here: Place) -> int:
    """How many beats have said that they live."""
    with here.system.store.read() as connection:
        return sum(one.kind == "beat" for one in programs.known(connection))


def _rate(taker: Taker, rows: int) -> float:
    """Rows a second between the first message and the one that completes so many rows."""
    until(lambda: taker.rows >= rows, 300, step=0.005)
    first, seen = taker.taken[0], 0
    for when, infra_ids in taker.taken:
        seen += len(infra_ids)
        if seen >= rows:
            return (rows - len(first[1])) / (when - first[0])
    raise AssertionError


def _beats(here: Place, count: int, rows: int) -> tuple[float, int]:
    """(rows a second, rows sent more than once) with so many beats, which are at work before anything is due."""
    _due(here, here.system.now() + LONG)
    with here.system.store.write() as connection:
        connection.execute(tables.programs.delete())
    taker = Taker(here, QUEUE)
    beats = [here.start("beat") for _ in range(count)]
    try:
        until(lambda: _working(here) == count)
        _due(here, here.system.now())
        rate = _rate(taker, rows)
        sent = [one for _, infra_ids in taker.taken for one in infra_ids][:rows]
        return rate, len(sent) - len(set(sent))
    finally:
        for beat in beats:
            here.end(beat)
        taker.end()


def _peer(here: Place, module: str, scheduler: str, share: int, *, rows: int) -> float:
    """Another scheduler with as many entries, all due. share: of how many of them one is waited for."""
    here.environment.update(PYTHONPATH=str(ROOT), BROKER_URL=here.broker_url, DATABASE_URL=here.database)
    filling = [sys.executable, "-m", module, str(rows)]
    subprocess.run(filling, env=here.environment, cwd=here.home, check=True)
    taker = Taker(here, "peer")
    command = [sys.executable, "-m", "celery", "-A", module, "beat"]
    beat = here.start("-S", scheduler, "--max-interval", "1", command=command)
    try:
        return _rate(taker, rows // share)
    finally:
        here.end(beat)
        taker.end()


def run(size: measure.Size) -> Iterator[measure.Figure]:
    rows = size.of(10_000, 500)
    with place(interval=LONG) as here:
        populate(here, rows, nodes=1, interval=LONG)
        runs: dict[str, list[float]] = {"ours": [], **{name: [] for name in PEERS}}
        for number in range(1 if size.quick else size.runs + 1):
            rates = {"ours": _beats(here, 1, rows)[0]}
            rates.update({name: _peer(here, *peer, rows=rows) for name, peer in PEERS.items()})
            for name, rate in rates.items() if number or size.quick else ():
                runs[name].append(rate)
        ours = runs["ours"]
        for figure, peer in zip(("dispatch_10k", "dispatch_10k.sql"), PEERS, strict=True):
            yield measure.Figure(
                name=figure,
                unit="rows/s",
                runs=ours,
                peer=peer,
                peer_runs=runs[peer],
                bar=("ratio", ">=", 10.0),
            )
    yield from _two_beats(size)


def _two_beats(size: measure.Size) -> Iterator[measure.Figure]:
    rows = size.of(60_000, 500)
    one: list[float] = []
    two: list[float] = []
    twice: list[float] = []
    with place(interval=LONG) as here:
        populate(here, rows, nodes=1, interval=LONG)
        for number in range(1 if size.quick else size.runs + 1):
            alone, together = _beats(here, 1, rows), _beats(here, 2, rows)
            twice.append(alone[1] + together[1])
            if number or size.quick:
                one.append(alone[0])
                two.append(together[0])
    yield measure.Figure(name="two_beats.duplicates", unit="rows", runs=twice, bar=("value", "<=", 0.0))
    yield measure.Figure(
        name="two_beats.speedup",
        unit="rows/s",
        runs=two,
        peer="one beat",
        peer_runs=one,
        bar=("ratio", ">=", 1.7),
        note=f"of {rows} rows",
    )


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
