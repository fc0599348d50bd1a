"""Builds descriptions and instances for the planner's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from occo_celery.model import description, instance, status
from occo_celery.model.instance import Lifecycle
from occo_celery.model.status import NodeStatus

#: Words of the scenarios -> the columns of an instance.
STATES: Mapping[str, Mapping[str, Any]] = {
    "planned": {"lifecycle": Lifecycle.PLANNED, "status": NodeStatus.PENDING},
    "waiting": {"lifecycle": Lifecycle.PLANNED, "status": NodeStatus.PENDING, "attempts": 2, "waiting": True},
    "creating": {"lifecycle": Lifecycle.CREATING, "status": NodeStatus.PENDING},
    "pending": {"lifecycle": Lifecycle.RUNNING, "status": NodeStatus.PENDING},
    "ready": {"lifecycle": Lifecycle.RUNNING, "status": NodeStatus.READY, "ready_at": 50.0},
    "temp_failed": {"lifecycle": Lifecycle.RUNNING, "status": NodeStatus.TEMP_FAILED, "ready_at": 50.0},
    "unknown": {"lifecycle": Lifecycle.RUNNING, "status": NodeStatus.UNKNOWN, "ready_at": 50.0},
    "failed": {"lifecycle": Lifecycle.RUNNING, "status": NodeStatus.FAILED, "ready_at": 50.0},
    "shutdown": {"lifecycle": Lifecycle.RUNNING, "status": NodeStatus.SHUTDOWN, "ready_at": 50.0},
    "dropping": {"lifecycle": Lifecycle.DROPPING, "status": NodeStatus.READY, "ready_at": 50.0},
}


def an_instance(number: int, name: str, state: str, outdated: str | None = None, **values: Any) -> instance.Instance:
    defaults: dict[str, Any] = {
        "node_id": f"{name}-{number}",
        "infra_id": "i",
        "node_name": name,
        "reason": status.Reason(code=state),
        "version": 1,
        "created_at": float(number),
        "called_at": float(number),
        "instance_id": f"vm-{number}",
        "account": "cloud",
        "outdated": None if outdated is None else instance.Replacement(outdated),
    }
    return instance.Instance(**{**defaults, **STATES[state], **values})


def a_description(
    counts: Mapping[str, int],
    on: Mapping[str, Sequence[str]],
    most: Mapping[str, int] | None = None,
    awaits: Mapping[str, Sequence[str]] | None = None,
) -> description.StaticDescription:
    """counts: instances by node name; on: dependees by node name; most: max, where it is not the count; awaits: the
    attributes of every dependee that are mapped with `synch`, by the name of the dependent."""
    most, awaits = most or {}, awaits or {}
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 1 + max((level(one) for one in on.get(name, ())), default=-1)
        return levels[name]

    order: dict[int, list[str]] = {}
    for name in counts:
        order.setdefault(level(name), []).append(name)
    return description.StaticDescription(
        infra_id="i",
        name="infra",
        user_id=None,
        nodes=tuple(
            description.NodeDescription(
                name=name, type="t", scaling=description.Scaling(min=count, max=most.get(name, max(1, count)))
            )
            for name, count in counts.items()
        ),
        dependencies=tuple(
            description.Dependency(
                dependent=name,
                dependee=one,
                mappings=tuple(
                    description.AttributeMapping(source=each, target=f"{one}_{each}", synch=True)
                    for each in awaits.get(name, ())
                ),
            )
            for name, some in on.items()
            for one in some
        ),
        topological_order=tuple(tuple(order[key]) for key in sorted(order)),
    )
