"""From scaling requests to counts. Pure; called by enactor/passes.py, and by the API to refuse what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from occo_celery.model.description import NodeDescription, StaticDescription
from occo_celery.model.request import Kind, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one request. asked: the count that it asked for; after: the one within the limits, which holds
    from now on (None: the description has no such node any more)."""

    request: Request
    before: int
    asked: int
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The counts after all requests, by node name where they are not the node's min, and the instances that were
    named to go."""

    targets: Mapping[str, int]
    victims: frozenset[str] = frozenset()
    applied: tuple[Applied, ...] = field(default=())


def target(node: NodeDescription, targets: Mapping[str, int]) -> int:
    """How many instances a node is to have: what was asked for last, within the limits of today."""
    return _within(node, targets.get(node.name, node.scaling.min))


def _within(node: NodeDescription, count: int) -> int:
    return min(max(count, node.scaling.min), node.scaling.max)


def apply(desired: StaticDescription, targets: Mapping[str, int], requests: Sequence[Request]) -> Scaled:
    """The counts when requests are carried out in their order."""
    counts, victims, applied = dict(targets), set[str](), []
    for request in requests:
        node = desired.node_lookup.get(request.node_name)
        if node is None:
            applied.append(Applied(request=request, before=0, asked=0, after=None))
            continue
        before = target(node, counts)
        asked = _asked(request, before)
        counts[node.name] = _within(node, asked)
        if request.node_id is not None and counts[node.name] < before:
            victims.add(request.node_id)
        applied.append(Applied(request=request, before=before, asked=asked, after=counts[node.name]))
    return Scaled(targets=counts, victims=frozenset(victims), applied=tuple(applied))


def _asked(request: Request, before: int) -> int:
    match request.kind:
        case Kind.UP:
            return before + request.count
        case Kind.DOWN:
            return before - request.count
        case Kind.TO:
            return request.count
