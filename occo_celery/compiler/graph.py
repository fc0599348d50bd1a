"""Order and cycles of a dependency graph, in time linear in nodes and edges.

Called by checks.py (cycles) and compile.py (levels). An edge is (dependent, dependee).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Edge = tuple[str, str]


def levels(names: Sequence[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Kahn's algorithm: the first level depends on nothing, every other on something in the level before it.

    Names of a level keep their order. What is in or above a cycle is in no level.
    """
    rank = {name: index for index, name in enumerate(names)}
    dependents: dict[str, list[str]] = {name: [] for name in names}
    missing = dict.fromkeys(names, 0)
    for dependent, dependee in dict.fromkeys(edges):
        dependents[dependee].append(dependent)
        missing[dependent] += 1
    found: list[list[str]] = []
    level = [name for name in names if not missing[name]]
    while level:
        found.append(level)
        following: list[str] = []
        for name in level:
            for dependent in dependents[name]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    following.append(dependent)
        level = sorted(following, key=rank.__getitem__)
    return found


def cycles(names: Sequence[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Cycles that have no node in common, such that every cycle of the graph meets one of them.

    Each is a list of names, every one depending on the next and the last on the first, beginning with the name
    that comes first in ``names``.
    """
    edges = list(dict.fromkeys(edges))
    sorted_out = {name for level in levels(names, edges) for name in level}
    left = dict.fromkeys(name for name in names if name not in sorted_out)  # in or above a cycle
    rank = {name: index for index, name in enumerate(left)}
    dependees: dict[str, list[str]] = {name: [] for name in left}
    dependents: dict[str, list[str]] = {name: [] for name in left}
    for dependent, dependee in edges:
        if dependent in left and dependee in left:
            dependees[dependent].append(dependee)
            dependents[dependee].append(dependent)
    found: list[list[str]] = []
    missing = {name: len(some) for name, some in dependees.items()}
    for start in list(left):
        trail: list[str] = []  # each depends on the next, and on none before it
        position: dict[str, int] = {}
        while trail or start in left:
            here = _onward(dependees[trail[-1]], left) if trail else start
            position[here] = len(trail)
            trail.append(here)
            back = max((position[name] for name in dependees[here] if name in position), default=None)
            if back is None:
                continue
            ring = trail[back:]
            found.append(_rotated(ring, rank))
            _remove(ring, left, dependents, missing)
            # what fell with the ring is an end of the trail: each of it depends on the next
            while trail and trail[-1] not in left:
                del position[trail.pop()]
    return found


def _onward(dependees: list[str], left: dict[str, None]) -> str:
    """Some dependee that is left, and there is one; those that are gone are looked at once."""
    while dependees[-1] not in left:
        dependees.pop()
    return dependees[-1]


def _rotated(ring: list[str], rank: dict[str, int]) -> list[str]:
    """The same cycle, beginning with its first name in the document."""
    first = ring.index(min(ring, key=rank.__getitem__))
    return ring[first:] + ring[:first]


def _remove(
    gone: list[str], left: dict[str, None], dependents: dict[str, list[str]], missing: dict[str, int]
) -> None:
    """Take names away, and then all that depend on nothing any more."""
    todo = list(gone)
    for name in gone:
        del left[name]
    while todo:
        for dependent in dependents[todo.pop()]:
            missing[dependent] -= 1
            if dependent in left and not missing[dependent]:
                del left[dependent]
                todo.append(dependent)
