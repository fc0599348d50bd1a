"""What can only be checked with several parts of a description in view: names that must exist, cycles, filters.

Called by compile.py, after schema.py has seen to the shape. Adds problems to the report and raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from occo_celery.compiler import graph, places, plain

Definitions = Mapping[str, Sequence[Mapping[str, Any]]]
_SHOWN_VALUES = 5
_SHOWN_NODES = 20


def nodes(report: places.Report, data: Sequence[Any], definitions: Definitions) -> None:
    """Names that are there twice, types without definition, filters that nothing meets."""
    first: dict[str, int] = {}
    for index, node in enumerate(data):
        if not isinstance(node, dict):
            continue
        name, kind, wanted = node.get("name"), node.get("type"), node.get("filter")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            hint = f"the first is nodes[{first[name]}]"
            report.add(("nodes", index, "name"), f"there is another node {places.quote(name)}", hint=hint)
        if isinstance(kind, str) and kind:
            if kind not in definitions:
                _no_definition(report, index, kind, definitions)
            elif isinstance(wanted, dict) and wanted:
                _filter(report, index, kind, wanted, definitions[kind])


def _no_definition(report: places.Report, index: int, kind: str, definitions: Definitions) -> None:
    hint = report.did_you_mean(kind.removeprefix("node_def:"), definitions)
    if hint is None:
        hint = "import one first" if definitions else "no node definitions are imported yet"
    report.add(("nodes", index, "type"), f"there is no definition of node type {places.quote(kind)}", hint=hint)


def _filter(
    report: places.Report, index: int, kind: str, wanted: dict[str, Any], some: Sequence[Mapping[str, Any]]
) -> None:
    """Says which keys of a filter are in the way. Met means equal, as when the implementation is chosen."""
    sections = [one["resource"] for one in some]
    differing = [[key for key, value in wanted.items() if section.get(key) != value] for section in sections]
    if not all(differing):
        return
    path = ("nodes", index, "filter")
    hopeless = [key for key in wanted if all(key in keys for keys in differing)]
    for key in hopeless:
        values = [section[key] for section in sections if key in section]
        if not values:
            message = f"no implementation of {places.quote(kind)} has {places.quote(key)} in its resource section"
            known = dict.fromkeys(name for section in sections for name in section)
            report.add((*path, key), message, hint=report.did_you_mean(key, known), key=True)
        else:
            message = f"no implementation of {places.quote(kind)} has this {key} in its resource section"
            report.add((*path, key), message, hint=_values(values))
    if not hopeless:
        ways = "; ".join(f"[{position}] differs in {', '.join(keys)}" for position, keys in enumerate(differing))
        report.add(path, f"no implementation of {places.quote(kind)} meets the whole filter: {ways}")


def _values(values: Iterable[Any]) -> str | None:
    """The values that are there; containers may be references to secrets and are not shown."""
    shown = list(dict.fromkeys(places.quote(one) for one in values if isinstance(one, str | int | float)))
    if not shown:
        return None
    more = f" and {len(shown) - _SHOWN_VALUES} more" if len(shown) > _SHOWN_VALUES else ""
    return f"there is {', '.join(shown[:_SHOWN_VALUES])}{more}"


def dependencies(report: places.Report, nodes: Sequence[Any], data: Sequence[Any]) -> None:
    """Names that are no node's, nodes that depend on themselves, directly or in a cycle."""
    names = dict.fromkeys(
        name for node in nodes if isinstance(node, dict) and isinstance(name := node.get("name"), str)
    )
    edges: dict[graph.Edge, places.Path] = {}
    for path, pair in _connections(data):
        for side, name in enumerate(pair):
            if name not in names and name != plain.UNNAMED:
                hint = report.did_you_mean(name, names)
                report.add((*path, side), f"there is no node {places.quote(name)}", hint=hint)
        dependent, dependee = pair
        if dependent == dependee:
            if dependent in names:
                report.add(path, f"{places.quote(dependent)} depends on itself")
        elif dependent in names and dependee in names:
            edges.setdefault((dependent, dependee), path)
    for ring in graph.cycles(list(names), edges):
        path = edges[ring[0], ring[1]]
        shown = ring if len(ring) <= _SHOWN_NODES else [*ring[:_SHOWN_NODES], f"({len(ring) - _SHOWN_NODES:,} more)"]
        report.add(path, f"nodes depend on each other in a cycle: {' -> '.join([*shown, ring[0]])}")


def _connections(data: Sequence[Any]) -> Iterator[tuple[places.Path, list[str]]]:
    """Every pair of names among the dependencies, whatever else may be wrong with them, and its path."""
    for index, item in enumerate(data):
        path: places.Path = ("dependencies", index)
        if isinstance(item, dict):
            path, item = (*path, "connection"), item.get("connection")
        if isinstance(item, list) and len(item) == 2 and all(isinstance(name, str) for name in item):
            yield path, item
