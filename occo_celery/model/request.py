"""What users ask of running infrastructures: rows, until a pass has acted on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a request changes the count of a node."""

    UP = "scale_up"
    DOWN = "scale_down"
    TO = "scale_to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One scaling request. count: by how many, or to how many; node_id: of DOWN, the instance that is to go.

    id: its row's, rising in the order in which they were made; 0 before it has one.
    """

    node_name: str
    kind: Kind
    count: int = 1
    node_id: str | None = None
    id: int = 0

    @property
    def text(self) -> str:
        """As a person reads it."""
        named = f" ({self.node_id})" if self.node_id is not None else ""
        sign = {Kind.UP: "+", Kind.DOWN: "-", Kind.TO: "to "}[self.kind]
        return f"{self.node_name} {sign}{self.count}{named}"
