"""Performs a claimed creation: render, register, call the cloud once, record what came of it.

However it ends (done, refused, in doubt, overtaken), and wherever the process dies, the next claim of the operation
goes on from what is written. Called by perform.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.infraprocessor import claims, resolve
from occo_celery.infraprocessor.retries import Retries
from occo_celery.model import instance, status
from occo_celery.model.message import Claim
from occo_celery.plugins.configmanager import base as configmanager
from occo_celery.plugins.resourcehandler import base as resourcehandler
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import definitions, events, infrastructures, nodes, operations, schedule
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)
Lifecycle = instance.Lifecycle


class Creator:
    """Performs CreateJobs. Each method returns the claim of the pass that is to follow, if one is."""

    def __init__(
        self,
        *,
        store: Store,
        clouds: accounts.Clouds,
        manager: Callable[[Mapping[str, Any]], configmanager.ConfigManager],
        resolver: resolve.Resolver,
        retries: Retries,
        now: Callable[[], float],
        new_id: Callable[[], str],
        timing: claims.Timing,
    ) -> None:
        self._store, self._clouds, self._manager = store, clouds, manager
        self._resolver, self._retries = resolver, retries
        self._now, self._new_id, self._timing = now, new_id, timing

    def perform(self, job: claims.CreateJob) -> Claim | None:
        if job.node.implementation is None:
            return self._refused(job, self._why_unresolved(job))
        try:
            rendered = self._resolver.render(job.desired, job.node, timeout=self._timing.call)
            section = job.node.implementation.get("config_management") or {"type": "dummy"}
            self._manager(section).register(job.node.infra_id, job.node.node_id, self._timing.call)
        except errors.ResourceError as problem:
            return self._refused(job, problem)
        if not self._may_send(job, rendered):
            return None
        try:
            seen = self._make(job, rendered)
        except errors.OutcomeUnknown as problem:
            return self._doubtful(job, problem)
        except errors.CloudSilent as problem:
            return self._doubtful(job, problem)
        except errors.ResourceError as problem:
            return self._refused(job, problem)
        except Exception as problem:
            log.exception("create_node %s: the call failed in a way nobody expected", job.node.node_id)
            return self._doubtful(job, problem)
        return self._made(job, seen) if seen is not None else self._absent(job)

    def _why_unresolved(self, job: claims.CreateJob) -> errors.PermanentError:
        wanted = job.desired.node_lookup[job.node.node_name]
        return errors.PermanentError(
            f"node type {wanted.type!r} has no implementation that node {wanted.name!r} can use; "
            "import a definition that it can, creation then goes on by itself"
        )

    def _may_send(self, job: claims.CreateJob, rendered: resolve.Rendered) -> bool:
        """The last look before the call: it is ours, time is left (guard 4), what it tells is on record (guard 6)."""
        node, token = job.node, job.operation.token or ""
        with self._store.write() as connection:
            if not operations.is_held(connection, node.node_id, token):
                return False
            now = self._now()  # only now: opening the transaction, or waiting for the row, may have taken long
            if now > job.send_until:
                operations.give_back(connection, node.node_id, token, retry_at=now, reason=None)
                return False
            if node.context_hash is None:
                nodes.move(
                    connection,
                    node.node_id,
                    Lifecycle.CREATING,
                    Lifecycle.CREATING,
                    context_hash=rendered.context_hash,
                )
            if self._creates(job, rendered):
                self._hold_doubt(connection, job)
        if node.context_hash not in (None, rendered.context_hash):
            log.warning("create_node %s: what it is told has changed since the first call", node.node_id)
        return True

    def _creates(self, job: claims.CreateJob, rendered: resolve.Rendered) -> bool:
        """Whether the cloud is asked to create. False if an earlier call is in doubt and must not be repeated."""
        same = job.node.context_hash in (None, rendered.context_hash)
        return job.first or (same and self._traits(job).idempotent)

    def _traits(self, job: claims.CreateJob) -> resourcehandler.Traits:
        assert job.node.implementation is not None
        return self._clouds.traits(job.node.implementation["resource"])

    def _hold_doubt(self, connection: sa.Connection, job: claims.CreateJob) -> None:
        """Until when the call that is about to be sent may still come true (guards 5 and 10). Looking an earlier one
        up does not prolong its doubt, or it would never end."""
        doubt_until = job.send_until + self._timing.call + self._traits(job).settle
        operations.held(
            connection,
            job.operation.target,
            job.operation.token or "",
            doubt_until=max(job.operation.doubt_until, doubt_until),
        )

    def _make(self, job: claims.CreateJob, rendered: resolve.Rendered) -> resourcehandler.Seen | None:
        """Call the cloud; None if an earlier call is in doubt and must not be repeated, and nothing is there."""
        if not self._creates(job, rendered):
            return self._look(job)
        return self._handler(job.node).create(rendered.creation)

    def _look(self, job: claims.CreateJob) -> resourcehandler.Seen | None:
        """What the cloud lists under the tag of the instance."""
        found = self._handler(job.node).observe([job.node.node_id], self._timing.call)[job.node.node_id]
        return found[0] if found else None

    def _handler(self, node: instance.Instance) -> resourcehandler.ResourceHandler:
        assert node.account is not None
        assert node.implementation is not None
        return self._clouds.handler(node.account, node.implementation["resource"])

    def _made(self, job: claims.CreateJob, seen: resourcehandler.Seen) -> Claim | None:
        now, node = self._now(), job.node
        with self._store.write() as connection:
            infrastructures.lock(connection, node.infra_id)  # first, as everybody does: no deadlocks
            if operations.end(connection, node.node_id, job.operation.token or ""):
                nodes.move(
                    connection,
                    node.node_id,
                    Lifecycle.CREATING,
                    Lifecycle.RUNNING,
                    instance_id=seen.instance_id,
                    addresses=list(seen.addresses),
                    called_at=now,  # however long it took until a call succeeded: its time to come up begins now
                    reason=status.Reason(code="booting", since=now),
                )
                events.add(
                    connection,
                    node.infra_id,
                    "nodecreated",
                    now=now,
                    node_id=node.node_id,
                    node=node.node_name,
                    instance=seen.instance_id,
                )
                return self._wake(connection, node, now)
            current = nodes.get(connection, node.node_id)
        if _disowned(current, seen):
            log.warning("create_node %s: overtaken, dropping what it made: %s", node.node_id, seen.instance_id)
            self._handler(node).drop(seen.instance_id, self._timing.call)
        return None

    def _absent(self, job: claims.CreateJob) -> Claim | None:
        """An earlier call was in doubt and the cloud lists nothing (guard 5): absent only once it has settled."""
        now = self._now()
        if now < job.operation.doubt_until:
            reason = status.Reason(
                code="settling", arguments={"detail": "an earlier call may still come true"}, since=now
            )
            with self._store.write() as connection:
                operations.give_back(
                    connection,
                    job.node.node_id,
                    job.operation.token or "",
                    retry_at=job.operation.doubt_until,
                    reason=reason,
                )
            return None
        with self._store.write() as connection:
            self._unfreeze(connection, job, retry_at=now, reason=status.Reason(code="not_made", since=now))
        return None

    def _doubtful(self, job: claims.CreateJob, problem: Exception) -> Claim | None:
        """The call may have been carried out: everything stays as it is, and is looked into again."""
        now = self._now()
        reason = status.Reason(code="in_doubt", arguments={"detail": _words(problem)}, since=now)
        with self._store.write() as connection:
            retry_at = self._retries.after(job.operation.attempts + 1, now, problem)
            if operations.give_back(
                connection, job.node.node_id, job.operation.token or "", retry_at=retry_at, reason=reason
            ):
                nodes.move(connection, job.node.node_id, Lifecycle.CREATING, Lifecycle.CREATING, reason=reason)
        return None

    def _refused(self, job: claims.CreateJob, problem: errors.ResourceError) -> Claim | None:
        """Nothing was made by this call. Other implementations are next, unless an earlier call is still in doubt."""
        now, node = self._now(), job.node
        if not job.first:
            if now < job.operation.doubt_until:
                return self._doubtful(job, problem)
            # This call made nothing, but an earlier one may have, and what it made must not be left behind.
            try:
                earlier = self._look(job)
            except errors.ResourceError as unseen:
                return self._doubtful(job, unseen)
            if earlier is not None:
                return self._made(job, earlier)
        permanent = isinstance(problem, errors.PermanentError)
        tried = (*job.operation.tried, *(() if node.position is None else (node.position,)))
        with self._store.write() as connection:
            infrastructures.lock(connection, node.infra_id)  # first, as everybody does: no deadlocks
            retry_at: float | None = self._retries.after(job.operation.attempts + 1, now, problem)
            if permanent:
                retry_at = now if self._others_left(connection, job, tried) else None
            code = "refused" if permanent else "refused_for_now"
            reason = status.Reason(code=code, arguments={"detail": _words(problem)}, since=now)
            if self._unfreeze(connection, job, retry_at=retry_at, reason=reason, tried=list(tried)):
                events.add(
                    connection,
                    node.infra_id,
                    "nodefailed",
                    now=now,
                    node_id=node.node_id,
                    node=node.node_name,
                    reason=reason.text(),
                )
                # Others may go on now: what waits to be tried again holds nobody up.
                return self._wake(connection, node, now)
        return None

    def _others_left(self, connection: sa.Connection, job: claims.CreateJob, tried: tuple[int, ...]) -> bool:
        """Is there an implementation that has not failed for this instance yet?"""
        wanted = job.desired.node_lookup[job.node.node_name]
        implementations = definitions.load(connection, [wanted.type]).get(wanted.type, [])
        return bool(set(resolve.meeting(wanted, implementations)) - set(tried))

    def _unfreeze(
        self,
        connection: sa.Connection,
        job: claims.CreateJob,
        *,
        retry_at: float | None,
        reason: status.Reason,
        **values: Any,
    ) -> bool:
        """Nothing is there: the next attempt chooses and renders afresh."""
        token = job.operation.token or ""
        if not operations.give_back(
            connection, job.node.node_id, token, retry_at=retry_at, reason=reason, begun=False, **values
        ):
            return False
        unfrozen = dict.fromkeys(("implementation", "position", "inputs", "account", "context_hash", "called_at"))
        origin = Lifecycle.PLANNED if job.node.implementation is None else Lifecycle.CREATING
        return nodes.move(connection, job.node.node_id, origin, Lifecycle.PLANNED, reason=reason, **unfrozen)

    def _wake(self, connection: sa.Connection, node: instance.Instance, now: float) -> Claim | None:
        return schedule.wake(connection, node.infra_id, now=now, token=self._new_id())


def _disowned(current: instance.Instance | None, seen: resourcehandler.Seen) -> bool:
    """Guard 1: a creation that comes back after its row was taken from it drops what it made, unless that is the
    very instance which is on record, or another is at it and will get the same one or find this one by its tag."""
    if current is None or current.lifecycle is Lifecycle.DROPPING:
        return True
    return current.lifecycle is Lifecycle.RUNNING and current.instance_id != seen.instance_id


def _words(problem: Exception) -> str:
    """The cloud's own words, bounded; types of unexpected errors help whoever reads them."""
    text = str(problem) or type(problem).__name__
    return text if isinstance(problem, errors.OccoError) else f"{type(problem).__name__}: {text}"[:500]
