"""From what is wanted and what is there to the instructions between the two. Pure; called by enactor/passes.py.

The order is that of the contract: bootstrap, surplus instances, instances of nodes that are no longer in the
description, failed ones, creations. Planning again after a plan was carried out gives nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from occo_celery.model.description import NodeDescription, StaticDescription
from occo_celery.model.instance import Instance, Lifecycle
from occo_celery.model.instruction import CreateInfrastructure, CreateNode, Delta, DropNode, Instruction
from occo_celery.model.status import NodeStatus, Reason

#: Statuses that an instance does not come back from.
LOST = frozenset({NodeStatus.FAILED, NodeStatus.SHUTDOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be begun. strategy: ``sequential`` has one creation in flight per infrastructure,
    ``parallel`` up to ``creations``."""

    strategy: str = "sequential"
    creations: int = 50

    @property
    def in_flight(self) -> int:
        return 1 if self.strategy == "sequential" else self.creations


def plan(
    desired: StaticDescription,
    instances: Sequence[Instance],
    targets: Mapping[str, int],
    *,
    bootstrapped: bool,
    limits: Limits,
) -> Delta:
    """The delta of one infrastructure.

    instances: all of it, as assessed, oldest first. targets: counts by node name where they are not the node's min.
    """
    bootstrap = () if bootstrapped else (CreateInfrastructure(),)
    drops = [*_surplus(desired, instances, targets), *_removed(desired, instances), *_failed(desired, instances)]
    drops = list({drop.node_id: drop for drop in drops}.values())
    dropped = {drop.node_id for drop in drops}
    kept = [one for one in instances if one.alive and one.node_id not in dropped]
    creations, waiting = _creations(desired, kept, targets, limits)
    instructions: tuple[Instruction, ...] = (*bootstrap, *drops, *creations)
    return Delta(
        instructions=instructions, waiting=waiting, ready=not instructions and _all_ready(desired, instances, targets)
    )


def target(node: NodeDescription, targets: Mapping[str, int]) -> int:
    """How many instances a node is to have."""
    return targets.get(node.name, node.scaling.min)


def ready_counts(instances: Iterable[Instance]) -> Mapping[str, int]:
    """How many instances of each node are ready."""
    return Counter(one.node_name for one in instances if one.ready)


def missing_dependee(
    desired: StaticDescription, node_name: str, ready: Mapping[str, int], targets: Mapping[str, int]
) -> Reason | None:
    """Why an instance of a node may not be made yet: a dependee has fewer ready than its *target*; None if it may.

    Used when planning a creation and again when it is claimed: a dependee may have gone in between.
    """
    for name in desired.dependees[node_name]:
        wanted = target(desired.node_lookup[name], targets)
        there = ready.get(name, 0)
        if there < wanted:
            return Reason(code="waiting_for", arguments={"node": name, "ready": f"{there} of {wanted} ready"})
    return None


def _drop(one: Instance, why: str) -> DropNode:
    return DropNode(node_id=one.node_id, node_name=one.node_name, version=one.version, why=why)


def _surplus(desired: StaticDescription, instances: Sequence[Instance], targets: Mapping[str, int]) -> list[DropNode]:
    """More than the target: those go first that are worth least, then the newest."""
    alive: dict[str, list[Instance]] = {}
    for one in instances:
        if one.alive and one.node_name in desired.node_lookup:
            alive.setdefault(one.node_name, []).append(one)
    drops = []
    for name, some in alive.items():
        excess = len(some) - target(desired.node_lookup[name], targets)
        if excess > 0:
            drops += [_drop(one, "surplus") for one in sorted(some, key=_worth)[:excess]]
    return drops


def _worth(one: Instance) -> tuple[int, float, str]:
    rank = 0 if one.status in LOST else 1 if one.ready_at is None else 2
    return (rank, -one.created_at, one.node_id)


def _removed(desired: StaticDescription, instances: Sequence[Instance]) -> list[DropNode]:
    return [_drop(one, "removed") for one in instances if one.alive and one.node_name not in desired.node_lookup]


def _failed(desired: StaticDescription, instances: Sequence[Instance]) -> list[DropNode]:
    return [
        _drop(one, one.reason.text())
        for one in instances
        if one.lifecycle is Lifecycle.RUNNING and one.status in LOST and one.node_name in desired.node_lookup
    ]


def _creations(
    desired: StaticDescription, kept: Sequence[Instance], targets: Mapping[str, int], limits: Limits
) -> tuple[list[CreateNode], dict[str, Reason]]:
    """As many as are lacking, allowed by dependees, and within the limit of what may be in flight."""
    room = limits.in_flight - sum(1 for one in kept if one.in_flight)
    counts, ready = Counter(one.node_name for one in kept), ready_counts(kept)
    creations: list[CreateNode] = []
    waiting: dict[str, Reason] = {}
    for name in (name for level in desired.topological_order for name in level):
        lacking = target(desired.node_lookup[name], targets) - counts[name]
        if lacking <= 0:
            continue
        reason = missing_dependee(desired, name, ready, targets)
        if reason is not None:
            waiting[name] = reason
            continue
        begun = max(0, min(lacking, room))
        room -= begun
        creations += [CreateNode(node_name=name)] * begun
        if begun < lacking:
            waiting[name] = Reason(code="waiting_for_turn", arguments={"strategy": limits.strategy})
    return creations, waiting


def _all_ready(desired: StaticDescription, instances: Sequence[Instance], targets: Mapping[str, int]) -> bool:
    if any(not one.ready for one in instances):
        return False
    counts = Counter(one.node_name for one in instances)
    return all(counts[node.name] == target(node, targets) for node in desired.nodes)
