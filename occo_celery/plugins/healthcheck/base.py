"""The contract of a health check: one question, asked of one instance, answered within a time limit."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from occo_celery.model import status


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask: the instance's addresses (the first is used) and names for the section's templates."""

    node_id: str
    addresses: tuple[str, ...]
    names: Mapping[str, Any] = field(default_factory=dict)


class HealthCheck(abc.ABC):
    """One key of the ``health_check`` section. Asked from an event loop, many at once."""

    #: The type of the key's value, for pydantic, e.g. ``list[int]``.
    value: ClassVar[Any]
    #: The value when the key is absent.
    default: ClassVar[Any]
    #: Does a value hold templates, so that the target must bring the names for them?
    renders: ClassVar[bool] = False

    @abc.abstractmethod
    async def check(self, value: Any, target: Target, limit: float) -> status.Reason | None:
        """None when healthy, else why not. Ends within ``limit`` seconds. UNKNOWN cannot be said: a check that
        could not be made raises TransientError with the way out."""

    def templates(self, value: Any) -> Mapping[str, str]:
        """The templates in a value by their path in it, so that an import can parse them."""
        return {}
