"""TearDown: the handle by which a caller follows the end of an infrastructure. Reads SQL; holds nothing."""

from __future__ import annotations

from dataclasses import dataclass

from occo_celery import errors, wiring
from occo_celery.api import waiting
from occo_celery.model import instance
from occo_celery.uds import infrastructures, nodes, operations

#: What an operation says that does not get on.
TROUBLE = frozenset({"drop_failed", "account_silent", "sweep_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """left: instances not yet gone. stage of stages: the link that the teardown is at. trouble: why drops, or
    looks for what is left over, are to be tried again, if any are."""

    left: int
    stage: int
    stages: int
    trouble: tuple[str, ...] = ()


class TearDown:
    """A teardown under way (or over)."""

    def __init__(self, infra_id: str, system: wiring.System) -> None:
        self.infra_id, self._system = infra_id, system

    @property
    def state(self) -> str:
        """``tearing_down`` or ``torn_down``."""
        with self._system.store.read() as connection:
            return infrastructures.get(connection, self.infra_id).phase.value

    @property
    def progress(self) -> Progress:
        with self._system.store.read() as connection:
            infra = infrastructures.get(connection, self.infra_id)
            stages = max(1, len(self._system.descriptions.one(connection, infra).topological_order)) + 2
            operation = operations.get(connection, self.infra_id)
            left = len(nodes.of(connection, self.infra_id))
            trouble = tuple(
                f"{one.node_name} ({one.target}): {one.reason.text()}"
                for one in operations.of(connection, self.infra_id)
                if one.reason is not None and one.reason.code in TROUBLE
            )
        stage = operation.stage if operation is not None else stages
        return Progress(left=left, stage=stage, stages=stages, trouble=trouble)

    def wait(self, timeout: float | None = None) -> None:
        """Return when the infrastructure is torn down. timeout: seconds; raises WaitTimeout, saying what is left."""
        if not waiting.until(lambda: self.state == instance.Phase.TORN_DOWN.value, timeout, self._system):
            progress = self.progress
            trouble = f": {'; '.join(progress.trouble)}" if progress.trouble else ""
            raise errors.WaitTimeout(
                f"infrastructure {self.infra_id} is not torn down after {timeout:g} s, "
                f"{progress.left} instances are left{trouble}; it goes on by itself"
            )
