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
        trail = [start] if start in left else []
        position = {start: 0}
        while trail:
            onward = _onward(dependees[trail[-1]], left)
            if onward not in position:
                position[onward] = len(trail)
                trail.append(onward)
                continue
            ring = trail[position[onward] :]
            found.append(_shortened(ring, dependees, rank))
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


def _shortened(ring: list[str], dependees: dict[str, list[str]], rank: dict[str, int]) -> list[str]:
    """The shortest cycle through one name of the ring that stays inside of it, rotated to its first name."""
    inside = set(ring)
    goal = ring[0]
    came_from: dict[str, str] = {}
    todo = [goal]
    for name in todo:  # breadth first: todo grows meanwhile
        if goal in dependees[name]:
            break
        for onward in dependees[name]:
            if onward in inside and onward not in came_from:
                came_from[onward] = name
                todo.append(onward)
    path = [name]
    while path[-1] != goal:
        path.append(came_from[path[-1]])
    path.reverse()
    first = path.index(min(path, key=rank.__getitem__))
    return path[first:] + path[:first]
