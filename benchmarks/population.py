"""Many infrastructures that are ready, without building each: one is built by the real core, then its rows copied.

Every copy has its own description, identifiers and cloud instances, in the same tables as if it had been built.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import uuid
from typing import Any

import sqlalchemy as sa

from benchmarks.place import Place
from occo_celery.plugins.resourcehandler import simulated_cloud
from occo_celery.uds import phases, schedule, tables


def describe(name: str, nodes: int) -> dict[str, Any]:
    """``nodes`` nodes, each but the first depends on the first."""
    names = [f"node-{number}" for number in range(nodes)]
    return {
        "infra_name": name,
        "nodes": [{"name": one, "type": "server", "variables": {"of": name}} for one in names],
        "dependencies": [[late, names[0]] for late in names[1:]],
    }


def populate(place: Place, count: int, *, nodes: int = 5, interval: float = 10.0) -> list[str]:
    """So many infrastructures, ready and managed; returns their infra_ids."""
    system, send = place.inline()
    first = _built(place, system, send, describe("infra-0", nodes))
    infra_ids = [first, *(str(uuid.uuid4()) for _ in range(count - 1))]
    with system.store.read() as connection:
        rows = {
            table.name: [dict(row) for row in connection.execute(_of(table, first)).mappings()]
            for table in (tables.infrastructures, tables.revisions, tables.nodes, tables.schedule)
        }
    cloud = sqlite3.connect(place.home / "cloud.sqlite", isolation_level=None)
    try:
        for start in range(1, count, 2000):
            _copy(place, system, cloud, rows, infra_ids, range(start, min(count, start + 2000)), interval)
    finally:
        cloud.close()
    with system.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    system.store.close()
    return infra_ids


def _built(place: Place, system: Any, send: Any, description: dict[str, Any]) -> str:
    manager = type(place.manager)("parallel", system=system)
    infra_id: str = manager.add(description)
    for _ in range(1000):
        send.drain(system)
        if manager.list()[-1].ready == len(description["nodes"]):
            return infra_id
        system.sleep(0.02)
        with system.store.write() as connection:
            claim = schedule.wake(connection, infra_id, now=system.now(), token=system.new_id())
        if claim is not None:
            send.passes(claim)
    raise TimeoutError("the first infrastructure was not built")


def _of(table: sa.Table, infra_id: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.infra_id == infra_id)


def _copy(
    place: Place,
    system: Any,
    cloud: sqlite3.Connection,
    rows: dict[str, Any],
    infra_ids: list[str],
    some: range,
    interval: float,
) -> None:
    made: dict[str, list[dict[str, Any]]] = {name: [] for name in rows}
    instances, account = [], rows["nodes"][0]["account"]
    originals = {one.node_id: one for one in place.cloud.instances()}
    numbers = itertools.count(cloud.execute("SELECT max(number) + 1 FROM instances").fetchone()[0])
    for number in some:
        infra_id, name = infra_ids[number], f"infra-{number}"
        for row in rows["infrastructures"]:
            made["infrastructures"].append({**row, "infra_id": infra_id, "name": name})
        for row in rows["revisions"]:
            text = json.dumps(row["description"]).replace("infra-0", name)
            made["revisions"].append({**row, "infra_id": infra_id, "description": json.loads(text)})
        phase = phases.shared(account, number // place.settings.enactor.batch, interval)
        due = phase + ((system.now() - phase) // interval + 1) * interval
        for row in rows["schedule"]:
            values = {
                "infra_id": infra_id,
                "phase": phase,
                "interval": interval,
                "longest": interval,
                "pace": interval,
                "next_due": due,
                "claim_token": None,
            }
            made["schedule"].append({**row, **values})
        for row in rows["nodes"]:
            node_id = str(uuid.uuid4())
            one = originals[row["node_id"]]._replace(
                number=next(numbers),
                instance_id=f"i-{node_id.replace('-', '')[:17]}",
                node_id=node_id,
                infra_id=infra_id,
            )
            instances.append((place.cloud.endpoint, *one))
            ours = {"node_id": node_id, "infra_id": infra_id, "instance_id": one.instance_id}
            made["nodes"].append({**row, **ours, "addresses": [one.address]})
    with system.store.write() as connection:
        for table in (tables.infrastructures, tables.revisions, tables.nodes, tables.schedule):
            connection.execute(table.insert(), made[table.name])
    columns = simulated_cloud.COLUMNS
    marks = ", ".join("?" for _ in instances[0])
    cloud.execute("BEGIN IMMEDIATE")
    cloud.executemany(f"INSERT INTO instances (endpoint, {columns}) VALUES ({marks})", instances)  # noqa: S608
    cloud.execute("COMMIT")
