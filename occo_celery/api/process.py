"""InfrastructureMaintenanceProcess: how one infrastructure is being maintained. A view of its row in the schedule."""

from __future__ import annotations

import datetime

from occo_celery import errors, wiring
from occo_celery.api import occoapp, report, waiting
from occo_celery.uds import infrastructures, schedule


class InfrastructureMaintenanceProcess:
    """A process maintaining a single infrastructure: passes, made on workers at given intervals.

    infra_id: the identifier of the already submitted infrastructure. enactor_interval: the longest time between two
    passes, seconds, longest_interval: that to which it may grow while nothing happens (see InfrastructureManager),
    and process_strategy: of a process that start() is to begin; those of the running one otherwise.
    """

    def __init__(
        self,
        infra_id: str,
        enactor_interval: float = 10,
        process_strategy: str = "sequential",
        *,
        longest_interval: float | None = None,
        system: wiring.System | None = None,
    ) -> None:
        self.infra_id = infra_id
        self._interval, self._strategy = float(enactor_interval), process_strategy
        self._longest = longest_interval
        self._system = system or occoapp.system()

    def _row(self) -> schedule.Row | None:
        with self._system.store.read() as connection:
            return schedule.get(connection, self.infra_id)

    def start(self) -> None:
        """Begin maintaining; raises as InfrastructureManager.start_provisioning does."""
        from occo_celery.api.manager import InfrastructureManager  # the manager makes these

        InfrastructureManager(
            self._strategy,
            enactor_interval=self._interval,
            longest_interval=self._longest,
            system=self._system,
        ).start_provisioning(self.infra_id)

    @property
    def enactor_interval(self) -> float:
        """Longest time between two passes, seconds."""
        row = self._row()
        return row.interval if row is not None else self._interval

    @property
    def longest_interval(self) -> float:
        """Seconds to which the interval grows while nothing happens; enactor_interval if it does not grow."""
        row = self._row()
        return row.longest if row is not None else max(self._interval, self._longest or 0.0)

    @property
    def process_strategy(self) -> str:
        row = self._row()
        return row.strategy if row is not None else self._strategy

    @property
    def started(self) -> datetime.datetime | None:
        """When provisioning was started; times are aware, in UTC."""
        row = self._row()
        return _time(row.started) if row is not None else None

    @property
    def last_pass(self) -> datetime.datetime | None:
        row = self._row()
        return _time(row.last_pass) if row is not None else None

    @property
    def next_pass(self) -> datetime.datetime | None:
        row = self._row()
        return _time(row.next_due) if row is not None else None

    @property
    def passes(self) -> int:
        """How many passes have been made since provisioning was started."""
        row = self._row()
        return row.passes if row is not None else 0

    @property
    def last_error(self) -> str | None:
        """What went wrong in the last pass, None if nothing did."""
        row = self._row()
        return row.last_error if row is not None else None

    def is_alive(self) -> bool:
        """True while the infrastructure is being maintained, whichever processes run at the moment."""
        return self._row() is not None

    def wait_ready(self, timeout: float | None = None) -> None:
        """Return when every node has as many instances ready as it should.

        timeout: seconds; raises WaitTimeout, saying what is not ready, when they have passed.
        """
        if not waiting.until(self._is_ready, timeout, self._system):
            raise errors.WaitTimeout(
                f"infrastructure {self.infra_id} is not ready after {timeout:g} s: {'; '.join(self._unready())}"
            )

    def _is_ready(self) -> bool:
        with self._system.store.read() as connection:
            return infrastructures.get(connection, self.infra_id).ready_since is not None

    def _unready(self) -> list[str]:
        with self._system.store.read() as connection:
            infra = infrastructures.get(connection, self.infra_id)
            desired = self._system.descriptions.one(connection, infra)
            return report.unready(connection, infra, desired)


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
