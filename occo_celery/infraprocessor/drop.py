"""Performs a claimed drop: ask the cloud to end the instance, look, and archive it once it is seen to be gone.

Tried for ever: an instance leaves the books only when its cloud does not list it any more, for longer than the cloud
may lag behind (guard 7), and no creation of it can still come true (guard 5). Called by perform.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from occo_celery import errors
from occo_celery.infraprocessor import claims
from occo_celery.infraprocessor.hearing import Hearing
from occo_celery.infraprocessor.retries import Retries
from occo_celery.model import instance, status
from occo_celery.model.message import Claim
from occo_celery.plugins import unexpected
from occo_celery.plugins.configmanager import base as configmanager
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import events, infrastructures, nodes, operations, schedule
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)

#: An instance that is on its way out is looked at again after this time, doubled each time, seconds.
FIRST_LOOK = 0.2
LONGEST_LOOK = 10.0


class Dropper:
    """Performs DropJobs and StrayJobs."""

    def __init__(
        self,
        *,
        store: Store,
        clouds: accounts.Clouds,
        manager: Callable[[Mapping[str, Any]], configmanager.ConfigManager],
        retries: Retries,
        hearing: Hearing,
        now: Callable[[], float],
        timing: claims.Timing,
    ) -> None:
        self._store, self._clouds, self._manager, self._hearing = store, clouds, manager, hearing
        self._retries, self._now, self._timing = retries, now, timing

    def perform(self, job: claims.DropJob) -> Claim | None:
        """Drop an instance; returns the claim of the pass that is to follow when it is gone."""
        node = job.node
        if node.implementation is None or node.account is None:
            return self._archive(job)  # no cloud has heard of it
        gone, asked = False, self._now()
        try:
            left = self._drop(node.account, node.implementation, node.node_id, node.instance_id, job.send_until)
            if left == [] and self._believed(job, node.implementation, asked):
                self._forget(node)
                gone = True
        except Exception as problem:  # noqa: BLE001  # logged without its words
            return self._again(job.operation, problem)
        return self._archive(job) if gone else self._look_again(job.operation, gone=left == [])

    def perform_stray(self, job: claims.StrayJob) -> Claim | None:
        """Drop an instance that bears our tag but is not on record; the recorded one is not touched."""
        detail, operation = job.operation.detail, job.operation
        implementation = detail["implementation"]
        try:
            handler = self._clouds.handler(detail["account"], implementation["resource"])
            with self._hearing.call(detail["account"]):
                handler.drop(detail["instance_id"], self._timing.call)
                listed = handler.observe([detail["node_id"]], self._timing.call)[detail["node_id"]]
        except Exception as problem:  # noqa: BLE001  # logged without its words
            return self._again(operation, problem)
        if any(one.instance_id == detail["instance_id"] for one in listed):
            return self._look_again(operation, gone=False)
        with self._store.write() as connection:
            operations.end(connection, [operation.target], operation.token or "")
        return None

    def _drop(
        self,
        account: str,
        implementation: Mapping[str, Any],
        node_id: str,
        instance_id: str | None,
        send_until: float,
    ) -> list[str] | None:
        """Ask for the end of all that bears the tag; returns what is still listed. None: too late to send."""
        if self._now() > send_until:
            return None
        handler = self._clouds.handler(account, implementation["resource"])
        with self._hearing.call(account):
            listed = {one.instance_id for one in handler.observe([node_id], self._timing.call)[node_id]}
            for one in sorted(listed | ({instance_id} if instance_id else set())):
                handler.drop(one, self._timing.call)
            if not listed:
                return []
            return [one.instance_id for one in handler.observe([node_id], self._timing.call)[node_id]]

    def _believed(self, job: claims.DropJob, implementation: Mapping[str, Any], asked: float) -> bool:
        """Not listed, as the cloud was asked at that time: is that proof?"""
        since = job.operation.absent_since
        grace = self._clouds.traits(implementation["resource"]).absence_grace
        absent_for = asked - since if since is not None else 0.0
        return asked >= job.operation.doubt_until and absent_for >= grace

    def _forget(self, node: instance.Instance) -> None:
        assert node.implementation is not None
        assert node.account is not None
        section = node.implementation.get("config_management") or {"type": "dummy"}
        self._manager(section).drop(node.infra_id, node.node_id, self._timing.call)
        self._clouds.handler(node.account, node.implementation["resource"]).forget(node.node_id)

    def _archive(self, job: claims.DropJob) -> Claim | None:
        now, node = self._now(), job.node
        with self._store.write() as connection:
            infrastructures.lock(connection, node.infra_id)  # first, as everybody does: no deadlocks
            if not operations.end(connection, [node.node_id], job.operation.token or ""):
                return None
            nodes.archive(connection, node, why=node.reason.text(), now=now)
            events.add(connection, node.infra_id, "nodedropped", now=now, node_id=node.node_id, node=node.node_name)
            return schedule.wake(connection, node.infra_id, now=now, token=job.operation.token or "")

    def _look_again(self, operation: instance.Operation, *, gone: bool) -> Claim | None:
        """Asked for, not yet (known to be) gone."""
        now = self._now()
        wait = min(LONGEST_LOOK, FIRST_LOOK * 2 ** min(operation.attempts, 20))
        since = operation.absent_since if operation.absent_since is not None else now
        with self._store.write() as connection:
            operations.give_back(
                connection,
                operation.target,
                operation.token or "",
                retry_at=now + wait,
                reason=status.Reason(code="seen_gone" if gone else "ending", since=now),
                absent_since=since if gone else None,
            )
        return None

    def _again(self, operation: instance.Operation, problem: Exception) -> Claim | None:
        """The cloud refused or did not answer: an instance that may be there is never given up."""
        now, said = self._now(), str(problem)[:500]
        if not isinstance(problem, errors.ResourceError):
            kind = unexpected.logged(log, f"drop of {operation.target}", problem)
            said = f"{kind}; the log of the worker says where"
        reason = status.Reason(code="drop_failed", arguments={"detail": said}, since=now)
        with self._store.write() as connection:
            operations.give_back(
                connection,
                operation.target,
                operation.token or "",
                retry_at=self._retries.after(operation.attempts + 1, now, problem),
                reason=reason,
            )
        return None
