"""Makes a static description of the user's infrastructure description, or says all that is wrong with it.

Called by api/ when an infrastructure is submitted. Reads files and does nothing else to the world.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from occo_celery import garbage
from occo_celery.compiler import checks, graph, places, plain, schema
from occo_celery.compiler import source as texts
from occo_celery.model import description

#: Longer strings are texts: no path is that long.
_LONGEST_PATH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A description that is right. warnings: for a person, each with its place."""

    description: description.StaticDescription
    warnings: tuple[str, ...]


def compile_description(
    source: str | pathlib.Path | Mapping[str, Any],
    *,
    infra_id: str,
    definitions: Mapping[str, Sequence[Mapping[str, Any]]],
    files: bool = True,
) -> Compiled:
    """Check a description against behaviour.md, section 2, and compile it; linear in nodes plus edges.

    source: YAML text (a string that holds a line break or ``: ``), the path of a file, or data.
    definitions: node type -> its implementations, each with a ``resource`` section.
    files: False takes every string for text, as one that came over a network must be: it must not name our files.
    Raises SchemaError with all problems in document order.
    """
    with garbage.put_off():
        return _compile(_read(source, files), infra_id, definitions)


def _compile(
    report: places.Report, infra_id: str, definitions: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Compiled:
    copier = plain.Copier(report, _node_names(report.root))
    data = copier.root()
    infrastructure = schema.infrastructure(report, data)
    some_nodes, some_dependencies = _list(data, "nodes"), _list(data, "dependencies")
    nodes = schema.nodes(report, some_nodes)
    dependencies = schema.dependencies(report, some_dependencies)
    checks.nodes(report, some_nodes, definitions)
    checks.dependencies(report, some_nodes, some_dependencies)
    _check_size(report, copier, len(nodes))
    report.check()
    assert infrastructure is not None
    compiled = _static(infra_id, infrastructure, nodes, dependencies)
    return Compiled(description=compiled, warnings=report.warning_texts())


def _read(source: str | pathlib.Path | Mapping[str, Any], files: bool) -> places.Report:
    if isinstance(source, pathlib.Path):
        return texts.read_file(source)
    if not isinstance(source, str):
        return places.Report(source)
    if not files or "\n" in source or ": " in source or len(source) > _LONGEST_PATH:
        return texts.read_text(source)
    return texts.read_file(pathlib.Path(source))


def _node_names(root: Any) -> dict[int, str]:
    """The name of every node by the id of its mapping: what an alias in a dependency stands for."""
    nodes = root.get("nodes") if isinstance(root, Mapping) else None
    names: dict[int, str] = {}
    for node in nodes if isinstance(nodes, list | tuple) else ():
        if isinstance(node, Mapping):
            name = node.get("name")
            names[id(node)] = name if isinstance(name, str) else plain.UNNAMED
    return names


def _list(data: Any, key: str) -> list[Any]:
    """What is below a key, where it is a list; where it is not, the schema has complained."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, list) else []


def _check_size(report: places.Report, copier: plain.Copier, nodes: int) -> None:
    """Every node gets the variables of the infrastructure: what is stored grows with their product."""
    if not isinstance(report.root, Mapping):
        return
    shared = copier.weight(report.root.get("variables"))
    if copier.weight(report.root) + shared * nodes > plain.MAX_EXPANDED:
        message = (
            f"each of the {nodes:,} nodes gets these {shared:,} values, "
            f"which makes more than {plain.MAX_EXPANDED:,} in all"
        )
        report.add(("variables",), message)


def _static(
    infra_id: str,
    infrastructure: schema.Infrastructure,
    nodes: Sequence[schema.Node],
    dependencies: Sequence[schema.Dependency],
) -> description.StaticDescription:
    variables = infrastructure.variables or {}
    edges = [(one.connection[0], one.connection[1]) for one in dependencies]
    order = graph.levels([node.name for node in nodes], edges)
    return description.StaticDescription(
        infra_id=infra_id,
        name=infrastructure.infra_name,
        user_id=infrastructure.user_id,
        nodes=tuple(_node(node, variables) for node in nodes),
        dependencies=tuple(_dependency(one) for one in dependencies),
        topological_order=tuple(tuple(level) for level in order),
        variables=variables,
    )


def _node(node: schema.Node, variables: dict[str, Any]) -> description.NodeDescription:
    scaling = node.scaling or schema.Scaling()
    return description.NodeDescription(
        name=node.name,
        type=node.type,
        scaling=description.Scaling(min=scaling.min, max=max(scaling.min, 1) if scaling.max is None else scaling.max),
        filter=node.filter or {},
        variables=_merged(variables, node.variables or {}),
    )


def _dependency(dependency: schema.Dependency) -> description.Dependency:
    return description.Dependency(
        dependent=dependency.connection[0],
        dependee=dependency.connection[1],
        mappings=tuple(
            description.AttributeMapping(
                source=one.attributes[0], target=one.attributes[1], synch=one.synch, other=dict(one.model_extra or {})
            )
            for one in dependency.mappings or ()
        ),
        other=dict(dependency.model_extra or {}),
    )


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """A deep merge of mappings; everything else above replaces what is below."""
    found = dict(below)
    for key, value in above.items():
        other = found.get(key)
        found[key] = _merged(other, value) if isinstance(other, dict) and isinstance(value, dict) else value
    return found
