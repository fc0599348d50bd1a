"""Performs operations by the ids that a message carries: claim them, do them, send the passes that are to follow.

Called by the instruction tasks. What does not need doing any more is passed over in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from occo_celery import errors
from occo_celery.infraprocessor import claims, create, drop
from occo_celery.infraprocessor.together import Together
from occo_celery.model.message import Claim, Send
from occo_celery.uds import schedule
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)


class InfraProcessor:
    """Performs create_node and drop_node. All that it needs is handed in: see wiring.py."""

    def __init__(
        self,
        *,
        store: Store,
        taker: claims.Claims,
        creator: create.Creator,
        dropper: drop.Dropper,
        send: Send,
        now: Callable[[], float],
        together: Together,
    ) -> None:
        self._store, self._taker, self._creator, self._dropper = store, taker, creator, dropper
        self._send, self._now, self._together = send, now, together

    def perform(self, targets: Sequence[str]) -> None:
        """Perform the operations of these targets, at the same time; one's failure touches no other."""
        try:
            with self._store.write() as connection:
                taken = self._taker.take(connection, targets, self._now())
                if taken.may_be_lost:
                    self._store.may_be_lost(connection)
        except errors.StoreUnavailable:
            raise
        except Exception:
            if len(targets) == 1:
                raise
            log.exception("%d operations could not be taken together", len(targets))
            for target in targets:
                self._logged(target)
            return
        for claim in self._do(taken.jobs):
            try:
                self._send.passes(claim)
            except errors.BrokerUnavailable as problem:
                log.warning("%s; beat will send the pass when it is due", problem)

    def _logged(self, target: str) -> None:
        try:
            self.perform([target])
        except Exception:
            log.exception("operation %s failed; beat will send it again", target)

    def _do(self, jobs: Sequence[claims.Job]) -> Iterator[Claim]:
        if creations := [job for job in jobs if isinstance(job, claims.CreateJob)]:
            yield from self._creator.perform(creations)
        drops = [partial(self._drop, job) for job in jobs if not isinstance(job, claims.CreateJob)]
        for ended in self._together.run(drops):
            yield from schedule.merged(claim for claim in ended if claim is not None)

    def _drop(self, job: claims.DropJob | claims.StrayJob) -> Claim | None:
        try:
            return self._dropper.perform(job) if isinstance(job, claims.DropJob) else self._dropper.perform_stray(job)
        except errors.StoreUnavailable as problem:
            log.warning("operation %s: %s; beat will send it again", job.operation.target, problem)
            return None
        except Exception:
            log.exception("operation %s failed; beat will send it again", job.operation.target)
            return None
