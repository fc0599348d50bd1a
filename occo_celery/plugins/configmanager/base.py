"""The contract of a config manager: it is told of a node before it is made, asked for its state, told of its end."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic

from occo_celery.model import status


class ConfigManager(abc.ABC):
    """A config manager. Every call is safe to repeat and ends within its time-out (seconds).

    Errors as for resource handlers.
    """

    schema: ClassVar[type[pydantic.BaseModel]]

    def __init__(self, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.section, self.auth, self.options = section, auth, options

    @abc.abstractmethod
    def register(self, infra_id: str, node_id: str, timeout: float) -> None:
        """Make the node known, before its instance is created."""

    @abc.abstractmethod
    def observe(self, infra_id: str, node_id: str, addresses: tuple[str, ...], timeout: float) -> status.Finding:
        """READY when the node is configured, PENDING while it is not, FAILED when it never will be."""

    @abc.abstractmethod
    def drop(self, infra_id: str, node_id: str, timeout: float) -> None:
        """Forget the node; forgetting what is unknown is success."""

    @abc.abstractmethod
    def drop_infrastructure(self, infra_id: str, timeout: float) -> None:
        """Forget all that belongs to the infrastructure."""
