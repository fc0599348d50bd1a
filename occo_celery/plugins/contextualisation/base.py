"""The contract of contextualisation: turn a section and the names of a node into what its instance is told."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pydantic


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an instance is told when it is made. May hold secrets: never stored, logged or sent."""

    user_data: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] | str | None = None


class Contextualisation(abc.ABC):
    """No I/O but reading what is installed on this host. Raises TemplateError."""

    schema: ClassVar[type[pydantic.BaseModel]]

    @abc.abstractmethod
    def render(self, section: Mapping[str, Any], names: Mapping[str, Any]) -> Context:
        """The context of one instance.

        section: the unrendered ``contextualisation`` section; names: what templates may use (templates.py).
        """

    @abc.abstractmethod
    def templates(self, section: Mapping[str, Any]) -> Mapping[str, str]:
        """All templates of a section by their path in it, so that an import can parse them."""
