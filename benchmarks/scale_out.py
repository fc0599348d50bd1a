"""Worker programs on several hosts: three network namespaces, one PostgreSQL, one Valkey. Needs root and iproute2.

Each namespace reaches the database and the broker by its own link only. The cloud takes 0.1 s for a call, so that
workers wait more than they compute and one machine can tell three hosts from one. scale_out.two, .three: passes a
second with so many hosts, beside one. scale_out.wrong: instances too many, too few or unknown, and infrastructures
not looked at any more, after one host was killed and the link of another was cut for 20 s while infrastructures were
being built.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from benchmarks import measure
from benchmarks.place import OCCO, Place, place, until
from benchmarks.population import describe, populate
from occo_celery.uds import tables

HOSTS = 3
NODES = 3
LATENCY = 0.1
#: Infrastructures in a message, so that a message is one call to the cloud.
BATCH = 5
#: Seconds between passes while the rate is measured (more is wanted than three hosts can do), and afterwards.
BUSY, QUIET = 2.0, 10.0
CUT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A network namespace. outside, inside: the addresses of the two ends of its link."""

    name: str
    link: str
    outside: str
    inside: str

    def cut(self, up: bool = False) -> None:
        _ip("link", "set", self.link, "up" if up else "down")

    def command(self, config: pathlib.Path) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name}", *OCCO, "--cfg", str(config)]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many namespaces, without any route but to us; they go with the block."""
    mark, made = os.getpid() % 10_000, []
    try:
        for number in range(count):
            link = f"oc{mark}-{number}"
            one = Host(
                name=f"occo-{mark}-{number}", link=link, outside=f"10.213.{number}.1", inside=f"10.213.{number}.2"
            )
            _ip("netns", "add", one.name)
            made.append(one)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", one.name)
            _ip("addr", "add", f"{one.outside}/30", "dev", link)
            _ip("link", "set", link, "up")
            for words in (("addr", "add", f"{one.inside}/30", "dev", "eth0"), ("link", "set", "eth0", "up")):
                _ip("-n", one.name, *words)
            _ip("-n", one.name, "link", "set", "lo", "up")
        yield made
    finally:
        for one in made:
            _ip("netns", "del", one.name)


class Gate(threading.Thread):
    """Lets the hosts in to the database, which listens on a Unix socket, and to the broker."""

    def __init__(self, addresses: list[str], ways: dict[int, str | int]) -> None:
        super().__init__(daemon=True)
        self._addresses, self._ways = addresses, ways
        self._ended = threading.Event()

    def run(self) -> None:
        asyncio.run(self._serve())  # what is still open when it ends is cancelled

    async def _serve(self) -> None:
        for port, target in self._ways.items():
            await asyncio.start_server(functools.partial(self._accept, target), self._addresses, port)
        while not self._ended.is_set():
            await asyncio.sleep(0.2)

    def end(self) -> None:
        self._ended.set()
        self.join()

    async def _accept(self, target: str | int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(target, str):
            inner, outer = await asyncio.open_unix_connection(target)
        else:
            inner, outer = await asyncio.open_connection("127.0.0.1", target)
        with contextlib.suppress(asyncio.CancelledError):  # the gate ends
            await asyncio.gather(_carry(reader, outer), _carry(inner, writer), return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    finally:
        writer.close()


PORTS = (25432, 26379)


def run(size: measure.Size) -> Iterator[measure.Figure]:
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nsenter") is None:
        sys.exit("benchmarks.scale_out: cannot run here: it needs root, iproute2 and util-linux (network namespaces)")
    count, few = size.of(600, 60), size.of(20, 3)
    with place(interval=BUSY) as here, hosts(HOSTS) as there:
        populate(here, count, nodes=NODES, interval=BUSY)
        url = sa.make_url(here.database)
        gate = Gate([one.outside for one in there], {PORTS[0]: f"{url.query['host']}/.s.PGSQL.{url.port or 5432}",
                                                     PORTS[1]: here.port})  # fmt: skip
        gate.start()
        try:
            here.cloud.set(latency=LATENCY)
            _configure(here, here.home / "config.yaml", here.database, here.broker_url)
            here.start("beat")
            rates = [_with_one_more(here, one, size) for one in there]
            yield measure.Figure(name="scale_out.one", unit="passes/s", runs=rates[0])
            for name, runs in (("two", rates[1]), ("three", rates[2])):
                yield measure.Figure(
                    name=f"scale_out.{name}",
                    unit="passes/s",
                    runs=runs,
                    peer="one host",
                    peer_runs=rates[0],
                )
            wrong, note = _trouble(here, there, few)
        finally:
            here.end_all()
            gate.end()
        yield measure.Figure(
            name="scale_out.wrong", unit="findings", runs=[float(wrong)], bar=("value", "<=", 0.0), note=note
        )


def _configure(here: Place, path: pathlib.Path, database: str, broker: str) -> None:
    text = here.configuration(BUSY, database, broker)
    path.write_text(text.replace("enactor: {", f"enactor: {{batch: {BATCH}, "))


def _with_one_more(here: Place, host: Host, size: measure.Size) -> list[float]:
    """Start the programs of a host; passes a second from then on."""
    config = here.home / f"{host.name}.yaml"
    url = sa.make_url(here.database).set(host=host.outside, port=PORTS[0], query={})
    _configure(here, config, url.render_as_string(hide_password=False), f"redis://{host.outside}:{PORTS[1]}/0")
    for words in (("passes", "-c", "1"), ("instructions", "-c", "4")):
        here.start("worker", *words, command=host.command(config))
    before = _programs(here)
    until(lambda: _programs(here) >= before + 2, step=0.2)
    time.sleep(2.0)
    runs = []
    for _ in range(1 if size.quick else size.runs):
        passes, began = _passes(here), time.monotonic()
        time.sleep(3.0)
        runs.append((_passes(here) - passes) / (time.monotonic() - began))
    return runs


def _trouble(here: Place, there: list[Host], few: int) -> tuple[int, str]:
    """Kill one host and cut another off while infrastructures are built; what is wrong afterwards."""
    with here.system.store.write() as connection:
        connection.execute(tables.schedule.update().values(interval=QUIET, longest=QUIET, pace=QUIET))
    here.cloud.set(latency=LATENCY, boot_time=1.0)
    new = [here.manager.add(describe(f"first-{number}", NODES)) for number in range(few)]
    killed = here.programs[-2:]  # those of the last host
    for program in killed:
        here.end(program)
    time.sleep(2.0)
    there[1].cut()
    new += [here.manager.add(describe(f"second-{number}", NODES)) for number in range(few)]
    before = _passes(here)
    time.sleep(CUT)
    alone = (_passes(here) - before) / CUT
    there[1].cut(up=True)
    began = time.monotonic()
    until(lambda: all(one.ready == NODES for one in here.manager.list()), 300.0, step=0.5)
    ready = time.monotonic() - began
    healed = time.time()
    until(lambda: _stale(here, healed) == 0, 300.0, step=0.5)
    before, since = _passes_of(here), time.monotonic()
    until(lambda: _passes(here) > 0 and time.monotonic() - since > 2 * QUIET, 60.0, step=0.5)
    unseen = sum(after <= before.get(infra_id, 0) for infra_id, after in _passes_of(here).items())
    found = Counter(one.infra_id for one in here.cloud.instances(alive=True))
    with here.system.store.read() as connection:
        known = set(connection.execute(sa.select(tables.nodes.c.instance_id)).scalars())
    strangers = sum(one.instance_id not in known for one in here.cloud.instances(alive=True))
    uneven = sum(found[one.infra_id] != NODES for one in here.manager.list())
    note = (
        f"{len(new)} infrastructures built meanwhile, all ready {ready:.0f} s after the link was back; {alone:.0f} "
        f"passes/s without it; {strangers} unknown instances, {uneven} infrastructures without exactly {NODES}, "
        f"{unseen} not looked at"
    )
    return strangers + uneven + unseen, note


def _programs(here: Place) -> int:
    with here.system.store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(tables.programs)).scalar() or 0)


def _passes_of(here: Place) -> dict[str, int]:
    table = tables.schedule
    with here.system.store.read() as connection:
        return {row.infra_id: row.passes for row in connection.execute(sa.select(table.c.infra_id, table.c.passes))}


def _passes(here: Place) -> int:
    return sum(_passes_of(here).values())


def _stale(here: Place, since: float) -> int:
    """Infrastructures without a pass since then."""
    table = tables.schedule
    with here.system.store.read() as connection:
        asked = sa.select(sa.func.count()).where(sa.func.coalesce(table.c.last_pass, 0.0) < since)
        return int(connection.execute(asked).scalar() or 0)


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
