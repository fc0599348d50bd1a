"""Beat's scheduler: puts on the queue what SQL says is due (``-S occo_celery.tasks.scheduler:UdsScheduler``).

Any number of beats may run: each claims its own rows. Nothing that must run once is a static entry. A database or
broker that goes away is waited for; nothing is lost meanwhile, since what was not published stays due or falls due
again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import beat

from occo_celery import errors, settings, wiring
from occo_celery.infraprocessor import teardown
from occo_celery.model import instance
from occo_celery.model.message import Chain, Claim
from occo_celery.tasks import signs
from occo_celery.uds import accounts, infrastructures, operations, schedule

log = logging.getLogger(__name__)

#: Rows claimed in one transaction. Beat begins with as many as one message carries, and doubles that each time: when
#: everything is due because no beat was there, the first message need not wait for a thousand rows.
LIMIT = 1000
#: Seconds after which the message that asks for a sweep is sent again, if nothing came of it.
SWEEP_AGAIN = 300.0
#: Seconds between attempts while the database or the broker is away.
PAUSE = 1.0

_NEXT = sa.select(schedule.NEXT_DUE, operations.NEXT_DUE, accounts.NEXT_SWEEP)


class _Following(NamedTuple):
    """When the next of each kind falls due, seconds since the epoch."""

    passes: float
    operations: float
    sweeps: float


class Due:
    """Claims what is due and sends it. The part of the scheduler that does not know Celery."""

    def __init__(self, system: wiring.System) -> None:
        self._system = system
        self._batch = system.settings.enactor.batch
        self._limit = min(LIMIT, self._batch)
        self.poll = system.settings.enactor.beat_poll  # seconds between two looks

    def publish(self) -> int:
        """Claim and send all that is due now; returns how many rows. Raises StoreError, BrokerUnavailable."""
        sent = 0
        while True:
            # A look without a write transaction: most ticks find nothing.
            following, now = self._following(), self._system.now()
            if min(following) > now:
                return sent
            limit, self._limit = self._limit, min(LIMIT, 2 * self._limit)
            claims: Sequence[Claim] = ()
            due: Sequence[instance.Operation] = ()
            sweeps: Sequence[str] = ()
            with self._system.store.write() as connection:
                if following.passes <= now:
                    claims = schedule.claim_due(
                        connection, now=now, limit=limit, token=self._system.new_id(), batch=self._batch
                    )
                if following.operations <= now:
                    resend = self._system.settings.instructions.resend
                    due = operations.claim_due(connection, now=now, limit=limit, resend=resend)
                if following.sweeps <= now:
                    sweeps = accounts.claim_sweeps(connection, now=now, limit=limit, again=SWEEP_AGAIN)
                names = self._names(connection, claims)
                chains = self._chains(connection, due)
            self._send(claims, names, due, chains)
            for account in sweeps:
                self._system.send.sweep(account)
            rows = sum(len(claim.infra_ids) for claim in claims) + len(due) + len(sweeps)
            sent += rows
            if rows < limit:
                return sent

    def next(self) -> float:
        """When something falls due, seconds since the epoch; infinity: nothing as it stands. Raises StoreError."""
        return min(self._following())

    def _following(self) -> _Following:
        with self._system.store.read() as connection:
            times = connection.execute(_NEXT).one()
        return _Following(*(math.inf if when is None else when for when in times))

    def _names(self, connection: sa.Connection, claims: Sequence[Claim]) -> dict[str, str]:
        """Names for people, of those that travel alone."""
        alone = [claim.infra_ids[0] for claim in claims if len(claim.infra_ids) == 1]
        return {infra_id: infrastructures.get(connection, infra_id).name for infra_id in alone}

    def _chains(self, connection: sa.Connection, due: Sequence[instance.Operation]) -> list[Chain]:
        """Teardowns whose chain gave no sign of life: each gets a new one."""
        chains = []
        for operation in due:
            if operation.kind is instance.OperationKind.TEARDOWN:
                infra = infrastructures.get(connection, operation.infra_id)
                desired = self._system.descriptions.one(connection, infra)
                resend = self._system.settings.instructions.resend
                due_at = self._system.now() + teardown.heartbeat(resend)
                operations.held(connection, operation.target, operation.token or "", due=due_at)
                chains.append(teardown.resume(connection, operation, desired, token=self._system.new_id()))
        return chains

    def _send(
        self,
        claims: Sequence[Claim],
        names: dict[str, str],
        due: Sequence[instance.Operation],
        chains: list[Chain],
    ) -> None:
        send = self._system.send
        for claim in claims:
            send.passes(replace(claim, name=names.get(claim.infra_ids[0], "")))
        instructions = [one for one in due if one.kind is not instance.OperationKind.TEARDOWN]
        if instructions:
            send.operations(instructions)
        for chain in chains:
            send.teardown(chain)


class UdsScheduler(beat.Scheduler):  # type: ignore[misc]  # Celery has no types
    """Celery's scheduler for static entries, and our rows beside them; rows never become entries."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Runs twice, the first time ``lazy``: nothing is opened here.
        self._due: Due | None = None
        self._not_before = 0.0
        self._trouble: str | None = None
        self._signs: signs.Signs | None = None
        self._ticking = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """No default entries: results are not kept, so there are none to clean up."""
        self.merge_inplace(self.app.conf.beat_schedule)

    def _ensure_connected(self) -> Any:
        """The base class would wait here for the broker, and tick with it."""
        return self.connection

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; returns the seconds to sleep."""
        self._ticking = True
        try:
            return self._tick(*args, **kwargs)
        finally:
            self._ticking = False

    def close(self) -> None:
        """At the end, and also from the signal handler, before the tick that it interrupts has ended: then that
        transaction is still open, and ours would wait for it for ever."""
        super().close()
        if self._signs is not None and not self._ticking:
            self._signs.end()
            self._signs = None

    def _tick(self, *args: Any, **kwargs: Any) -> float:
        if self._due is None:
            given = self.app.conf.get("occo_system")  # not in an app that somebody else made
            system = given() if given else wiring.System(settings.load())
            self._due, self._signs = Due(system), signs.Signs(system.settings, (signs.BEAT,))
        wait = min(self._due.poll, self._static(*args, **kwargs))
        if time.monotonic() < self._not_before:
            return wait
        try:
            self._due.publish()
            self._well()
            if self._signs is not None:
                self._signs.say()
        except errors.SchemaVersionError as problem:
            log.critical("%s", problem)  # waiting would not mend it
            raise SystemExit(1) from problem
        except (errors.StoreError, errors.BrokerUnavailable) as problem:
            self._ill(str(problem))
        except Exception as problem:
            log.exception("tick failed")
            self._ill(str(problem))
        return wait

    def _static(self, *args: Any, **kwargs: Any) -> float:
        if not self.schedule:
            return float(self.max_interval)
        try:
            return float(super().tick(*args, **kwargs))
        except Exception:
            log.exception("a static entry could not be sent")
            self._heap = None  # else the entry that was popped is lost
            return PAUSE

    def _ill(self, trouble: str) -> None:
        self._not_before = time.monotonic() + PAUSE
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("%s; trying again every %g s", trouble, PAUSE)

    def _well(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("back to work")
