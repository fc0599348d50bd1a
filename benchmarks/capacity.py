"""How many infrastructures of five nodes this machine holds at 10 s, with all that they need on it.

capacity: held for ten minutes means that every infrastructure had its pass in every interval, 99 of 100 of them
within 2 s of their time (to the end of the pass, which is later than its lease), while one in a hundred instances
dies and all are replaced. memory_b: bytes that beat and the workers hold more for each infrastructure, from 1,000 to
50,000. Each run is with new programs, and takes thirteen minutes.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import sqlalchemy as sa

from benchmarks import measure
from benchmarks.place import Place, place, until
from benchmarks.population import populate
from occo_celery import errors
from occo_celery.uds import schedule, tables
from occo_celery.uds.sets import among

INTERVAL = 10.0
QUICK_INTERVAL = 2.0
NODES = 5
#: Tried in this order.
COUNTS = (50_000, 40_000, 30_000, 20_000)
FEW = 1_000
SECONDS = 600.0
#: Of all instances, in the time of a measurement.
DYING = 0.01
LATE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was seen. p99: seconds late; passes: made, of those due; healed: replaced, of those that died."""

    p99: float
    passes: int
    due: int
    healed: int
    died: int

    def text(self) -> str:
        return f"p99 {self.p99:.2f} s late, {self.passes} of {self.due} passes, {self.healed} of {self.died} healed"

    @property
    def all(self) -> bool:
        return self.p99 < LATE and self.passes >= 0.999 * self.due and self.healed == self.died


def run(size: measure.Size) -> Iterator[measure.Figure]:
    counts = (200, 100) if size.quick else COUNTS
    few, seconds = size.of(FEW, 50), size.of(int(SECONDS), 12)
    interval = QUICK_INTERVAL if size.quick else INTERVAL
    more, held, notes = [], [], []
    with place(interval=interval) as here:
        infra_ids = populate(here, counts[0], nodes=NODES, interval=interval)
        for _ in range(1 if size.quick else size.runs):
            manage(here, infra_ids[:few])
            programs = [here.start(*words) for words in (("worker", "passes"), ("worker", "instructions"), ("beat",))]
            settle(here)
            little = memory(programs)
            held.append(0.0)
            for count in counts:
                manage(here, infra_ids[:count])
                settle(here)
                if count == counts[0]:
                    more.append((memory(programs) - little) / (count - few))
                seen = hold(here, count, seconds)
                notes.append(f"{count}: {seen.text()}")
                print(f"  {notes[-1]}", flush=True)
                if seen.all:
                    held[-1] = float(count)
                    break
            for program in programs:
                here.end(program)
    yield measure.Figure(name="memory_b", unit="bytes", runs=more, bar=("value", "<=", 1000.0))
    yield measure.Figure(
        name="capacity",
        unit="infrastructures",
        runs=held,
        bar=("value", ">=", 50_000.0),
        note="; ".join(notes),
    )


def manage(here: Place, infra_ids: list[str]) -> None:
    """Exactly these are due, in phase; the others rest."""
    table, now = tables.schedule, here.system.now()
    when = sa.case((among(table.c.infra_id, "infra_ids"), schedule.following(now)), else_=schedule.NEVER)
    for attempt in range(20):
        # It takes rows that passes and beat are at in no order, so that PostgreSQL may choose it to give way.
        with contextlib.suppress(errors.StoreUnavailable), here.system.store.write() as connection:
            connection.execute(table.update().values(next_due=when, claim_token=None), {"infra_ids": infra_ids})
            return
        time.sleep(0.1 * attempt)
    raise TimeoutError("the schedule could not be changed")


def settle(here: Place) -> None:
    """Six intervals: the programs have come up, and every cache has what it will hold."""
    before = _passes(here)
    until(lambda: _passes(here) > before)
    time.sleep(6 * _interval(here))


def _interval(here: Place) -> float:
    return here.settings.enactor.interval


def memory(programs: list[psutil.Popen]) -> int:
    """Resident bytes of these programs and their children.

    What they share is counted for each, so that it makes no difference when a child writes on a page of its parent's.
    """
    found = 0
    for program in programs:
        one = psutil.Process(program.pid)
        found += sum(each.memory_info().rss for each in [one, *one.children(recursive=True)])
    return found


def hold(here: Place, count: int, seconds: float) -> Held:
    """Look at every row's last pass once an interval, while instances die."""
    late: list[float] = []
    died: list[str] = []
    ended = threading.Event()
    killer = threading.Thread(target=_kill, args=(here, count, seconds, died, ended))
    began, before, interval = time.time(), _passes(here), _interval(here)
    killer.start()
    while time.time() - began < seconds:
        time.sleep(interval)
        late += _lateness(here, set(died))
    passes, took = _passes(here) - before, time.time() - began
    ended.set()
    killer.join()
    time.sleep(3 * interval)  # the last to die are replaced
    late.sort()
    return Held(
        p99=late[int(0.99 * len(late))],
        passes=passes,
        due=int(count * took / interval),
        healed=sum(_is_replaced(here, one) for one in died),
        died=len(died),
    )


def _passes(here: Place) -> int:
    with here.system.store.read() as connection:
        return int(connection.execute(sa.select(sa.func.sum(tables.schedule.c.passes))).scalar() or 0)


def _lateness(here: Place, died: set[str]) -> list[float]:
    """Seconds from when each was last due to the end of its last pass; a whole interval more if it missed one.

    Without those in which something died: their passes follow events, and are counted by what is replaced.
    """
    table, now, interval = tables.schedule, time.time(), _interval(here)
    with here.system.store.read() as connection:
        rows = connection.execute(
            sa.select(table.c.infra_id, table.c.phase, table.c.last_pass).where(table.c.next_due < schedule.NEVER)
        ).all()
    # The last one that it may have had by now was due an interval ago at most.
    return [
        max((last - phase) % interval, now - last - interval) for one, phase, last in rows if last and one not in died
    ]


def _kill(here: Place, count: int, seconds: float, died: list[str], ended: threading.Event) -> None:
    """Instances of managed infrastructures die at even pace, each once; died: the infra_id of each."""
    number = max(1, int(count * NODES * DYING))
    with here.system.store.read() as connection:
        victims = connection.execute(
            sa.select(tables.nodes.c.infra_id, tables.nodes.c.node_id)
            .join(tables.schedule, tables.schedule.c.infra_id == tables.nodes.c.infra_id)
            .where(tables.schedule.c.next_due < schedule.NEVER, tables.nodes.c.node_name == f"node-{NODES - 1}")
        ).all()
    for infra_id, node_id in random.sample(victims, min(number, len(victims))):
        with contextlib.suppress(LookupError):  # died while more were tried, and is not replaced yet
            here.cloud.kill(node_id, listed=True)
            died.append(infra_id)
        if ended.wait(0.9 * seconds / number):
            return


def _is_replaced(here: Place, infra_id: str) -> bool:
    """Five live instances, one of them born after the population."""
    with sqlite3.connect(here.home / "cloud.sqlite") as cloud:
        alive = cloud.execute(
            "SELECT count(*) FROM instances"
            " WHERE endpoint = ? AND infra_id = ? AND killed_at IS NULL AND dropped_at IS NULL",
            (here.cloud.endpoint, infra_id),
        ).fetchone()[0]
    return bool(alive == NODES)


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
