"""Performs operations by the ids that a message carries: claim each, do it, send the pass that is to follow.

Called by the instruction tasks. What does not need doing any more is passed over in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import assert_never

from occo_celery import errors
from occo_celery.infraprocessor import claims, create, drop
from occo_celery.model.message import Claim, Send
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
        concurrency: int,
    ) -> None:
        self._store, self._taker, self._creator, self._dropper = store, taker, creator, dropper
        self._send, self._now, self._concurrency = send, now, concurrency

    def perform(self, targets: Sequence[str]) -> None:
        """Perform the operations of these targets, at the same time; one's failure touches no other."""
        if len(targets) == 1:
            self._perform_one(targets[0])
            return
        with futures.ThreadPoolExecutor(max_workers=min(self._concurrency, len(targets))) as pool:
            list(pool.map(self._logged, targets))

    def _logged(self, target: str) -> None:
        try:
            self._perform_one(target)
        except Exception:
            log.exception("operation %s failed; beat will send it again", target)

    def _perform_one(self, target: str) -> None:
        with self._store.write() as connection:
            job = self._taker.take(connection, target, self._now())
        claim = self._do(job) if job is not None else None
        if claim is not None:
            try:
                self._send.passes(claim)
            except errors.BrokerUnavailable as problem:
                log.warning("%s; beat will send the pass when it is due", problem)

    def _do(self, job: claims.Job) -> Claim | None:
        match job:
            case claims.CreateJob():
                return self._creator.perform(job)
            case claims.DropJob():
                return self._dropper.perform(job)
            case claims.StrayJob():
                return self._dropper.perform_stray(job)
            case _:
                assert_never(job)
