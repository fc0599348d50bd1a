"""The compiled infrastructure description (Occopus: static description) and its parts.

Made by compiler/, stored whole as JSON by uds/, read by the planner, enactor and infraprocessor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many instances a node may have; ``min`` is also the count it starts with."""

    min: int = 1
    max: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescription:
    """One entry of ``nodes``. ``variables`` already holds those of the infrastructure, merged under its own."""

    name: str
    type: str
    scaling: Scaling = Scaling()
    filter: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeMapping:
    """An attribute of the dependee (``source``) that the dependent sees as ``target``.

    synch: the dependent is created only when the attribute exists. other: keys kept as the user gave them.
    """

    source: str
    target: str
    synch: bool = False
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """``dependent`` is created only when every instance of ``dependee`` is ready (both are node names)."""

    dependent: str
    dependee: str
    mappings: tuple[AttributeMapping, ...] = ()
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StaticDescription:
    """A compiled infrastructure description.

    topological_order: levels of node names, the first depends on nothing; names in a level keep the order of
    the document.
    """

    infra_id: str
    name: str
    user_id: str | None
    nodes: tuple[NodeDescription, ...]
    dependencies: tuple[Dependency, ...]
    topological_order: tuple[tuple[str, ...], ...]
    variables: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def node_lookup(self) -> Mapping[str, NodeDescription]:
        """Node descriptions by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def dependees(self) -> Mapping[str, tuple[str, ...]]:
        """For each node name the names of the nodes that it depends on, in document order, without repeats."""
        found: dict[str, dict[str, None]] = {node.name: {} for node in self.nodes}
        for dependency in self.dependencies:
            found[dependency.dependent][dependency.dependee] = None
        return {name: tuple(names) for name, names in found.items()}

    @cached_property
    def mappings(self) -> Mapping[str, tuple[tuple[str, AttributeMapping], ...]]:
        """For the names of nodes whose dependencies map attributes: the dependee and the mapping, of each."""
        found: dict[str, list[tuple[str, AttributeMapping]]] = {}
        for dependency in self.dependencies:
            for mapping in dependency.mappings:
                found.setdefault(dependency.dependent, []).append((dependency.dependee, mapping))
        return {name: tuple(some) for name, some in found.items()}

    def to_json(self) -> dict[str, Any]:
        """The description as JSON-compatible data, without ``infra_id``: the row it is stored in has that."""
        return {
            "name": self.name,
            "user_id": self.user_id,
            "variables": dict(self.variables),
            "nodes": [
                {
                    "name": node.name,
                    "type": node.type,
                    "min": node.scaling.min,
                    "max": node.scaling.max,
                    "filter": dict(node.filter),
                    "variables": dict(node.variables),
                }
                for node in self.nodes
            ],
            "dependencies": [
                {
                    "dependent": dependency.dependent,
                    "dependee": dependency.dependee,
                    "mappings": [
                        {
                            "source": mapping.source,
                            "target": mapping.target,
                            "synch": mapping.synch,
                            "other": dict(mapping.other),
                        }
                        for mapping in dependency.mappings
                    ],
                    "other": dict(dependency.other),
                }
                for dependency in self.dependencies
            ],
            "topological_order": [list(level) for level in self.topological_order],
        }

    @classmethod
    def from_json(cls, infra_id: str, data: Mapping[str, Any]) -> StaticDescription:
        """The inverse of to_json."""
        return cls(
            infra_id=infra_id,
            name=data["name"],
            user_id=data["user_id"],
            variables=data["variables"],
            nodes=tuple(
                NodeDescription(
                    name=node["name"],
                    type=node["type"],
                    scaling=Scaling(min=node["min"], max=node["max"]),
                    filter=node["filter"],
                    variables=node["variables"],
                )
                for node in data["nodes"]
            ),
            dependencies=tuple(
                Dependency(
                    dependent=dependency["dependent"],
                    dependee=dependency["dependee"],
                    mappings=tuple(AttributeMapping(**mapping) for mapping in dependency["mappings"]),
                    other=dependency["other"],
                )
                for dependency in data["dependencies"]
            ),
            topological_order=tuple(tuple(level) for level in data["topological_order"]),
        )
