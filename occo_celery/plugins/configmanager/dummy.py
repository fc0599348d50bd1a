"""The config manager of nodes that need none: every node is configured as soon as it is there."""

from __future__ import annotations

from typing import Literal

import pydantic

from occo_celery.model import status
from occo_celery.plugins.configmanager import base


class Section(pydantic.BaseModel):
    """``config_management`` of type dummy."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["dummy"]


class DummyConfigManager(base.ConfigManager):
    """Agrees to everything, talks to nobody."""

    schema = Section

    def register(self, infra_id: str, node_id: str, timeout: float) -> None:
        """Nothing to make known."""

    def observe(self, infra_id: str, node_id: str, addresses: tuple[str, ...], timeout: float) -> status.Finding:
        """READY."""
        return status.Finding(status=status.NodeStatus.READY, reason=status.Reason(code="ready"))

    def drop(self, infra_id: str, node_id: str, timeout: float) -> None:
        """Nothing to forget."""

    def drop_infrastructure(self, infra_id: str, timeout: float) -> None:
        """Nothing to forget."""
