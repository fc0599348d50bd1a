"""From what is wanted and what is there to the instructions between the two. Pure; called by enactor/passes.py.

The order is that of the contract: bootstrap, surplus instances, instances of nodes that are no longer in the
description, failed ones, creations. Planning again after a plan was carried out gives nothing.

Instances that are outdated are replaced one at a time (of each node): while some are left the node has one instance
over its target, and one of them is dropped only when all that are not outdated are ready. Instances that a user named
to go, though there are not more than the target, become outdated: nobody goes before another is ready.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from occo_celery.model.description import StaticDescription
from occo_celery.model.instance import Instance, Lifecycle, Replacement
from occo_celery.model.instruction import CreateInfrastructure, CreateNode, Delta, DropNode, Instruction, ReplaceNode
from occo_celery.model.status import LOST, Reason
from occo_celery.planner.scaling import Scaled, target

#: Which of the ready ones go first when there are too many: the newest, the oldest, or any (by a hash of their names,
#: so that planning again chooses the same).
DOWNSCALE: Mapping[str, Callable[[Instance], float]] = {
    "simple": lambda one: -one.created_at,
    "oldest": lambda one: one.created_at,
    "random": lambda one: zlib.crc32(one.node_id.encode()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be begun. strategy: ``sequential`` has one creation in flight per infrastructure,
    ``parallel`` up to ``creations``. downscale: a key of DOWNSCALE."""

    strategy: str = "sequential"
    creations: int = 50
    downscale: str = "simple"

    @property
    def in_flight(self) -> int:
        return 1 if self.strategy == "sequential" else self.creations


def plan(
    desired: StaticDescription,
    instances: Sequence[Instance],
    scaled: Scaled,
    *,
    bootstrapped: bool,
    limits: Limits,
    held: Collection[str] = (),
) -> Delta:
    """The delta of one infrastructure.

    instances: all of it, as assessed, oldest first. scaled: the counts that are wanted, and who was named to go.
    held: accounts whose lost instances are not to be replaced yet.
    """
    bootstrap = () if bootstrapped else (CreateInfrastructure(),)
    surplus, named = _surplus(desired, instances, scaled, limits.downscale)
    instances = [dataclasses.replace(one, outdated=Replacement.ASKED) if one in named else one for one in instances]
    found = [
        *surplus,
        *_removed(desired, instances),
        *_failed(desired, instances, held),
        *_recreated(desired, instances),
    ]
    drops = {drop.node_id: drop for drop in reversed(found)}
    kept = [one for one in instances if one.alive and one.node_id not in drops]
    replaced = _replaced(desired, kept, scaled.targets)
    drops |= {drop.node_id: drop for drop in replaced}
    kept = [one for one in kept if one.node_id not in drops]
    creations, waiting = _creations(desired, kept, scaled.targets, limits)
    marks = [ReplaceNode(node_id=one.node_id, node_name=one.node_name) for one in named if one.node_id not in drops]
    instructions: tuple[Instruction, ...] = (*bootstrap, *_in_order(found, replaced, drops), *marks, *creations)
    ready = not instructions and _all_ready(desired, instances, scaled.targets)
    return Delta(instructions=instructions, waiting=waiting, ready=ready)


def _in_order(
    found: Sequence[DropNode], replaced: Sequence[DropNode], drops: Mapping[str, DropNode]
) -> tuple[DropNode, ...]:
    """Each drop once, for the first of its reasons."""
    return tuple(drops[node_id] for node_id in dict.fromkeys(drop.node_id for drop in (*found, *replaced)))


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


def missing_attribute(desired: StaticDescription, node_name: str, instances: Iterable[Instance]) -> Reason | None:
    """Why an instance of a node may not be made yet: no ready instance of a dependee has an attribute that is mapped
    with ``synch``; None if it may. Used like missing_dependee."""
    awaited = [(dependee, one.source) for dependee, one in desired.mappings.get(node_name, ()) if one.synch]
    ready = [one for one in instances if one.ready] if awaited else []
    for dependee, attribute in awaited:
        if not any(one.node_name == dependee and one.offers(attribute) for one in ready):
            return Reason(code="waiting_for", arguments={"node": dependee, "attribute": f"attribute {attribute}"})
    return None


def _drop(one: Instance, why: str) -> DropNode:
    return DropNode(node_id=one.node_id, node_name=one.node_name, version=one.version, why=why)


def _surplus(
    desired: StaticDescription, instances: Sequence[Instance], scaled: Scaled, downscale: str
) -> tuple[list[DropNode], list[Instance]]:
    """More than the target: those go first that were named, then those that are worth least. Beside the drops: the
    named ones that cannot be spared."""
    drops: list[DropNode] = []
    named: list[Instance] = []
    for name, some in _by_node(desired, instances).items():
        wanted = target(desired.node_lookup[name], scaled.targets)
        excess = max(0, len(some) - wanted - _extra(some, wanted))
        order = sorted(some, key=_worth(scaled.victims, downscale))
        drops += [_drop(one, "surplus") for one in order[:excess]]
        named += [one for one in order[excess:] if one.node_id in scaled.victims]
    return drops, named


def _by_node(desired: StaticDescription, instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    """The instances that count, of each node of the description that has any."""
    alive: dict[str, list[Instance]] = {}
    for one in instances:
        if one.alive and one.node_name in desired.node_lookup:
            alive.setdefault(one.node_name, []).append(one)
    return alive


def _extra(some: Iterable[Instance], wanted: int) -> int:
    """How many instances a node may have over its target: one while others are being replaced by and by."""
    return int(wanted > 0 and any(_rolls(one) for one in some))


def _rolls(one: Instance) -> bool:
    return one.outdated in (Replacement.ROLLING, Replacement.ASKED)


def _worth(victims: Collection[str], downscale: str) -> Callable[[Instance], tuple[int, float, str]]:
    def worth(one: Instance) -> tuple[int, float, str]:
        cases = (one.node_id in victims, one.status in LOST, one.outdated is not None, one.ready_at is None, True)
        return (cases.index(True), DOWNSCALE[downscale](one), one.node_id)

    return worth


def _removed(desired: StaticDescription, instances: Sequence[Instance]) -> list[DropNode]:
    return [_drop(one, "removed") for one in instances if one.alive and one.node_name not in desired.node_lookup]


def _failed(desired: StaticDescription, instances: Sequence[Instance], held: Collection[str]) -> list[DropNode]:
    return [
        _drop(one, one.reason.text())
        for one in instances
        if one.lifecycle is Lifecycle.RUNNING
        and one.status in LOST
        and one.node_name in desired.node_lookup
        and one.account not in held
    ]


def _recreated(desired: StaticDescription, instances: Sequence[Instance]) -> list[DropNode]:
    return [
        _drop(one, "recreated")
        for one in instances
        if one.alive and one.outdated is Replacement.RECREATE and one.node_name in desired.node_lookup
    ]


def _replaced(desired: StaticDescription, kept: Sequence[Instance], targets: Mapping[str, int]) -> list[DropNode]:
    """Outdated instances whose replacements are ready; those that are not ready themselves go first."""
    drops = []
    for name, some in _by_node(desired, kept).items():
        outdated = sorted((one for one in some if _rolls(one)), key=lambda one: (one.ready, one.created_at))
        fresh = [one for one in some if not _rolls(one)]
        over = len(some) - target(desired.node_lookup[name], targets)
        if over > 0 and all(one.ready for one in fresh):
            drops += [_drop(one, "replaced") for one in outdated[:over]]
    return drops


def _creations(
    desired: StaticDescription, kept: Sequence[Instance], targets: Mapping[str, int], limits: Limits
) -> tuple[list[CreateNode], dict[str, Reason]]:
    """As many as are lacking, allowed by dependees, and within the limit of what may be in flight."""
    room = limits.in_flight - sum(1 for one in kept if one.in_flight)
    there, ready = _by_node(desired, kept), ready_counts(kept)
    creations: list[CreateNode] = []
    waiting: dict[str, Reason] = {}
    for name in (name for level in desired.topological_order for name in level):
        some, wanted = there.get(name, []), target(desired.node_lookup[name], targets)
        lacking = wanted + _extra(some, wanted) - len(some)
        if lacking <= 0:
            continue
        reason = missing_dependee(desired, name, ready, targets) or missing_attribute(desired, name, kept)
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
    if any(not one.ready or one.outdated is not None for one in instances):
        return False
    counts = Counter(one.node_name for one in instances)
    return all(counts[node.name] == target(node, targets) for node in desired.nodes)
