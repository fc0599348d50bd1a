"""What people are shown of infrastructures: rows become plain data here. Called by manager.py and process.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from occo_celery.model import description, instance
from occo_celery.planner import plan, scaling
from occo_celery.uds import infrastructures, nodes, operations, tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One infrastructure in a list. managed: passes are being made on it. instances, ready: how many."""

    infra_id: str
    name: str
    phase: str
    managed: bool
    suspended: bool
    instances: int
    ready: int
    created_at: float


def summaries(connection: sa.Connection) -> list[Summary]:
    managed = set(connection.execute(sa.select(tables.schedule.c.infra_id)).scalars())
    counts = {
        row.infra_id: (row.instances, row.ready)
        for row in connection.execute(
            sa.select(
                tables.nodes.c.infra_id,
                sa.func.count().label("instances"),
                sa.func.sum(sa.case((tables.nodes.c.status == "ready", 1), else_=0)).label("ready"),
            ).group_by(tables.nodes.c.infra_id)
        )
    }
    found = []
    for infra in infrastructures.all_of(connection):
        instances, ready = counts.get(infra.infra_id, (0, 0))
        found.append(
            Summary(
                infra_id=infra.infra_id,
                name=infra.name,
                phase=infra.phase.value,
                managed=infra.infra_id in managed,
                suspended=infra.suspended,
                instances=instances,
                ready=int(ready),
                created_at=infra.created_at,
            )
        )
    return found


def report(
    infra: infrastructures.Infrastructure,
    desired: description.StaticDescription,
    instances: Sequence[instance.Instance],
) -> dict[str, Any]:
    """Nodes in the order of the description, then those that it does not have any more."""
    names = [*desired.node_lookup, *(one.node_name for one in instances if one.node_name not in desired.node_lookup)]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        mine = [one for one in instances if one.node_name == name]
        node = desired.node_lookup.get(name)
        found[name] = {
            "instances": {one.node_id: _instance(one) for one in mine},
            "scaling": {
                "actual": sum(1 for one in mine if one.alive),
                "target": scaling.target(node, infra.targets) if node is not None else 0,
                "min": node.scaling.min if node is not None else 0,
                "max": node.scaling.max if node is not None else 0,
            },
        }
    return found


def _instance(one: instance.Instance) -> dict[str, Any]:
    dropping = one.lifecycle is instance.Lifecycle.DROPPING
    return {
        "resource_address": one.addresses[0] if one.addresses else None,
        "state": "shutdown" if dropping else one.status.value,
        "reason": one.reason.text(),
        "since": one.reason.since,
    }


def unready(
    connection: sa.Connection,
    infra: infrastructures.Infrastructure,
    desired: description.StaticDescription,
) -> list[str]:
    """One line for each instance that is not ready, and for each node that has none yet, with the reason."""
    instances = nodes.of(connection, infra.infra_id)
    reasons = {one.target: one.reason for one in operations.of(connection, infra.infra_id)}
    lines = []
    for one in instances:
        if not one.ready:
            reason = reasons.get(one.node_id) or one.reason
            lines.append(f"{one.node_name}: {one.status.value}, {reason.text()}")
    ready = plan.ready_counts(instances)
    there = {one.node_name for one in instances}
    for name in desired.node_lookup:
        if name not in there and scaling.target(desired.node_lookup[name], infra.targets):
            waits = plan.missing_dependee(desired, name, ready, infra.targets)
            waits = waits or plan.missing_attribute(desired, name, instances)
            lines.append(f"{name}: {waits.text() if waits else 'not begun yet'}")
    return lines
