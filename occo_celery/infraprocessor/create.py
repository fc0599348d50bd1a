"""Performs claimed creations: render, register, call the cloud once for each, record what came of it.

Transactions are shared by all of a set, calls are made at the same time. However one ends (done, refused, in doubt,
overtaken), and wherever the process dies, the next claim of the operation goes on from what is written. Called by
perform.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.infraprocessor import claims, resolve
from occo_celery.infraprocessor.hearing import Hearing
from occo_celery.infraprocessor.retries import Retries
from occo_celery.infraprocessor.together import Together
from occo_celery.model import instance, status
from occo_celery.model.message import Claim
from occo_celery.plugins import unexpected
from occo_celery.plugins.configmanager import base as configmanager
from occo_celery.plugins.resourcehandler import base as resourcehandler
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import definitions, events, infrastructures, nodes, operations, schedule
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)
Lifecycle = instance.Lifecycle


@dataclass(frozen=True, slots=True)
class _Told:
    """A creation and what the cloud is to be told, or why nothing can be told."""

    job: claims.CreateJob
    rendered: resolve.Rendered | errors.ResourceError


@dataclass(frozen=True, slots=True)
class _Late:
    """The call was not made any more: its answer could have come after the lease."""


#: What came of a call: what the cloud made or lists, that it lists nothing, that it was not called, an error.
_Answer = resourcehandler.Seen | None | _Late | errors.ResourceError


@dataclass(frozen=True, slots=True)
class _Answered:
    """asked: when the call began, seconds since the epoch; the answer tells of nothing later."""

    job: claims.CreateJob
    answer: _Answer
    asked: float


class Creator:
    """Performs CreateJobs. Methods return the claims of the passes that are to follow."""

    def __init__(
        self,
        *,
        store: Store,
        clouds: accounts.Clouds,
        manager: Callable[[Mapping[str, Any]], configmanager.ConfigManager],
        resolver: resolve.Resolver,
        retries: Retries,
        hearing: Hearing,
        now: Callable[[], float],
        new_id: Callable[[], str],
        timing: claims.Timing,
        together: Together,
    ) -> None:
        self._store, self._clouds, self._manager = store, clouds, manager
        self._resolver, self._retries, self._together, self._hearing = resolver, retries, together, hearing
        self._now, self._new_id, self._timing = now, new_id, timing

    def perform(self, jobs: Sequence[claims.CreateJob]) -> Iterator[Claim]:
        """Perform creations that were claimed together. What is answered early is recorded early: a slow call holds
        up no other."""
        told: list[_Told] = []
        for some in self._together.run([partial(self._tell, job) for job in jobs]):
            told += some
        for one in told:
            match one.rendered:
                case errors.CloudSilent():
                    yield from self._alone(self._unanswered, one.job, one.rendered)
                case errors.ResourceError():
                    yield from self._alone(self._refused, one.job, one.rendered)
        calls = [partial(self._call, job, rendered) for job, rendered in self._may_send(told)]
        for answered in self._together.run(calls):
            yield from self._record(answered)

    def _tell(self, job: claims.CreateJob) -> _Told:
        """Render, and register at the config manager; before that, see that an account answers that lately did not.
        A creation that is not answered would be in doubt, and be bound to that account."""
        if job.node.implementation is None:
            return _Told(job, self._why_unresolved(job))
        try:
            if job.ask:
                self._ask(job)
            rendered = self._resolver.render(job.desired, job.node, timeout=self._timing.call)
            section = job.node.implementation.get("config_management") or {"type": "dummy"}
            self._manager(section).register(job.node.infra_id, job.node.node_id, self._timing.call)
        except errors.ResourceError as problem:
            return _Told(job, problem)
        except Exception as problem:  # noqa: BLE001  # logged without its words
            kind = unexpected.logged(log, f"create_node {job.node.node_id}, before its call", problem)
            return _Told(job, errors.TransientError(f"{kind} before the call; the log of the worker says where"))
        return _Told(job, rendered)

    def _call(self, job: claims.CreateJob, rendered: resolve.Rendered) -> _Answered:
        """Call the cloud. Whatever happens is an answer."""
        asked = self._now()
        if asked > job.send_until:
            return _Answered(job, _Late(), asked)
        try:
            return _Answered(job, self._make(job, rendered), asked)
        except errors.ResourceError as problem:
            return _Answered(job, problem, asked)
        except Exception as problem:  # noqa: BLE001  # logged without its words
            kind = unexpected.logged(log, f"create_node {job.node.node_id}, in its call", problem)
            unknown = errors.OutcomeUnknown(f"{kind} in the call; the log of the worker says where")
            return _Answered(job, unknown, asked)

    def _record(self, answered: Sequence[_Answered]) -> Iterator[Claim]:
        made = [(one.job, one.answer) for one in answered if isinstance(one.answer, resourcehandler.Seen)]
        if made:
            yield from self._made_or_each(made)
        for one in answered:
            match one.answer:
                case resourcehandler.Seen():
                    pass
                case None:
                    yield from self._alone(self._absent, one.job, one.asked)
                case _Late():
                    yield from self._alone(self._not_sent, one.job)
                case errors.OutcomeUnknown() | errors.CloudSilent():
                    yield from self._alone(self._doubtful, one.job, one.answer)
                case errors.ResourceError():
                    yield from self._alone(self._refused, one.job, one.answer)

    def _alone(self, record: Callable[..., Sequence[Claim]], job: claims.CreateJob, *more: Any) -> Sequence[Claim]:
        """Trouble with one touches no other."""
        try:
            return record(job, *more)
        except errors.OccoError as problem:
            log.warning("create_node %s: %s; what is open will be taken up again", job.node.node_id, problem)
            return ()
        except Exception:
            log.exception(
                "create_node %s: what came of it was not recorded; beat will send it again", job.node.node_id
            )
            return ()

    def _why_unresolved(self, job: claims.CreateJob) -> errors.PermanentError:
        wanted = job.desired.node_lookup[job.node.node_name]
        return errors.PermanentError(
            f"node type {wanted.type!r} has no implementation that node {wanted.name!r} can use; "
            "import a definition that it can, creation then goes on by itself"
        )

    def _may_send(self, told: Sequence[_Told]) -> Sequence[tuple[claims.CreateJob, resolve.Rendered]]:
        """The last look before the calls: they are ours, and what they tell is on record (guard 6)."""
        ready = [(one.job, one.rendered) for one in told if isinstance(one.rendered, resolve.Rendered)]
        if not ready:
            return ()
        token = ready[0][0].operation.token or ""
        with self._store.write() as connection:
            ours = operations.still_held(connection, [job.node.node_id for job, _ in ready], token)
            ready = [(job, rendered) for job, rendered in ready if job.node.node_id in ours]
            nodes.move_all(
                connection,
                Lifecycle.CREATING,
                Lifecycle.CREATING,
                {
                    job.node.node_id: {"context_hash": rendered.context_hash}
                    for job, rendered in ready
                    if job.node.context_hash is None
                },
            )
            doubts = {job.node.node_id: self._doubt(job) for job, rendered in ready if self._creates(job, rendered)}
            if doubts:
                operations.doubt(connection, doubts, token)
        for job, rendered in ready:
            if job.node.context_hash not in (None, rendered.context_hash):
                log.warning("create_node %s: what it is told has changed since the first call", job.node.node_id)
        return ready

    def _creates(self, job: claims.CreateJob, rendered: resolve.Rendered) -> bool:
        """Whether the cloud is asked to create. False if an earlier call is in doubt and must not be repeated."""
        same = job.node.context_hash in (None, rendered.context_hash)
        return job.first or (same and self._traits(job).idempotent)

    def _traits(self, job: claims.CreateJob) -> resourcehandler.Traits:
        assert job.node.implementation is not None
        return self._clouds.traits(job.node.implementation["resource"])

    def _doubt(self, job: claims.CreateJob) -> float:
        """Until when the call that is about to be sent may still come true (guards 5 and 10). Looking an earlier one
        up does not prolong its doubt, or it would never end."""
        return max(job.operation.doubt_until, job.send_until + self._timing.call + self._traits(job).settle)

    def _make(self, job: claims.CreateJob, rendered: resolve.Rendered) -> resourcehandler.Seen | None:
        """Call the cloud; None if an earlier call is in doubt and must not be repeated, and nothing is there."""
        if not self._creates(job, rendered):
            return self._look(job)
        with self._hearing.call(job.node.account or ""):
            return self._handler(job.node).create(rendered.creation)

    def _look(self, job: claims.CreateJob) -> resourcehandler.Seen | None:
        """What the cloud lists under the tag of the instance."""
        with self._hearing.call(job.node.account or ""):
            found = self._handler(job.node).observe([job.node.node_id], self._timing.call)[job.node.node_id]
        return found[0] if found else None

    def _ask(self, job: claims.CreateJob) -> None:
        """Raises CloudSilent if the account does not answer. One that refuses to list answers: the call itself is to
        show what it says to that."""
        try:
            self._look(job)
        except errors.CloudSilent:
            raise
        except errors.ResourceError as problem:
            log.info("create_node %s: account %s did not list: %s", job.node.node_id, job.node.account, problem)

    def _handler(self, node: instance.Instance) -> resourcehandler.ResourceHandler:
        assert node.account is not None
        assert node.implementation is not None
        return self._clouds.handler(node.account, node.implementation["resource"])

    def _made(self, made: Sequence[tuple[claims.CreateJob, resourcehandler.Seen]]) -> Sequence[Claim]:
        now, token = self._now(), made[0][0].operation.token or ""
        claimed: list[Claim] = []
        with self._store.write() as connection:
            # First, as everybody does: no deadlocks.
            asked = [schedule.ask(connection, one, now=now) for one in sorted({job.node.infra_id for job, _ in made})]
            ours = operations.end(connection, [job.node.node_id for job, _ in made], token)
            running = {job.node.node_id: (job.node, seen) for job, seen in made if job.node.node_id in ours}
            nodes.move_all(
                connection,
                Lifecycle.CREATING,
                Lifecycle.RUNNING,
                {
                    node_id: {
                        "instance_id": seen.instance_id,
                        "addresses": list(seen.addresses),
                        "called_at": now,  # however long a call took to succeed: its time to come up begins now
                        "reason": status.Reason(code="booting", since=now),
                    }
                    for node_id, (_, seen) in running.items()
                },
            )
            for one in asked:
                told = [_created(node, seen) for node, seen in running.values() if node.infra_id == one.infra_id]
                events.add_all(connection, one.infra_id, told, now=now)
                claim = schedule.claim_asked(connection, one, now=now, token=token)
                claimed += [claim] if claim is not None else []
            taken = [(job, seen) for job, seen in made if job.node.node_id not in ours]
            current = {job.node.node_id: nodes.get(connection, job.node.node_id) for job, _ in taken}
        for job, seen in taken:
            if _disowned(current[job.node.node_id], seen):
                self._alone(self._disown, job, seen)
        return schedule.merged(claimed)

    def _made_or_each(self, made: Sequence[tuple[claims.CreateJob, resourcehandler.Seen]]) -> Sequence[Claim]:
        """Trouble with one touches no other: what cannot be recorded together is recorded one by one."""
        try:
            return self._made(made)
        except errors.StoreUnavailable as problem:
            log.warning("%d creations were not recorded; beat will send them again: %s", len(made), problem)
            return ()
        except Exception:
            log.exception("%d creations were not recorded together", len(made))
            return [claim for job, seen in made for claim in self._alone(self._made_by_itself, job, seen)]

    def _made_by_itself(self, job: claims.CreateJob, seen: resourcehandler.Seen) -> Sequence[Claim]:
        return self._made([(job, seen)])

    def _disown(self, job: claims.CreateJob, seen: resourcehandler.Seen) -> Sequence[Claim]:
        log.warning("create_node %s: overtaken, dropping what it made: %s", job.node.node_id, seen.instance_id)
        self._handler(job.node).drop(seen.instance_id, self._timing.call)
        return ()

    def _not_sent(self, job: claims.CreateJob) -> Sequence[Claim]:
        """Too late for the call (guard 4): whoever takes the operation next makes it."""
        with self._store.write() as connection:
            operations.give_back(
                connection, job.node.node_id, job.operation.token or "", retry_at=self._now(), reason=None
            )
        return ()

    def _absent(self, job: claims.CreateJob, asked: float) -> Sequence[Claim]:
        """An earlier call was in doubt and the cloud, as it was asked at that time, lists nothing (guard 5): absent
        only once it has settled."""
        now = self._now()
        if asked < job.operation.doubt_until:
            reason = status.Reason(
                code="settling", arguments={"detail": "an earlier call may still come true"}, since=now
            )
            with self._store.write() as connection:
                operations.give_back(
                    connection,
                    job.node.node_id,
                    job.operation.token or "",
                    retry_at=job.operation.doubt_until + operations.CLOCKS_DIFFER,  # so that it is over then for all
                    reason=reason,
                    attempts=job.operation.attempts,  # it was not tried
                )
            return ()
        with self._store.write() as connection:
            infrastructures.hold(connection, job.node.infra_id)  # first, as everybody does: no deadlocks
            self._unfreeze(connection, job, retry_at=now, reason=status.Reason(code="not_made", since=now))
        return ()

    def _doubtful(self, job: claims.CreateJob, problem: errors.ResourceError) -> Sequence[Claim]:
        """The call may have been carried out: everything stays as it is, and is looked into again."""
        now = self._now()
        reason = status.Reason(code="in_doubt", arguments={"detail": str(problem)}, since=now)
        with self._store.write() as connection:
            infrastructures.hold(connection, job.node.infra_id)  # first, as everybody does: no deadlocks
            retry_at = self._retries.after(job.operation.attempts + 1, now, problem)
            if operations.give_back(
                connection, job.node.node_id, job.operation.token or "", retry_at=retry_at, reason=reason
            ):
                nodes.move(connection, job.node.node_id, Lifecycle.CREATING, Lifecycle.CREATING, reason=reason)
        return ()

    def _unanswered(self, job: claims.CreateJob, problem: errors.CloudSilent) -> Sequence[Claim]:
        """The account was asked whether it answers, and did not: nothing was sent, and nothing was tried."""
        now = self._now()
        retry_at = self._retries.after(1, now)
        arguments = {"account": job.node.account, "detail": str(problem)}
        reason = status.Reason(code="account_silent", arguments=arguments, since=now)
        attempts = job.operation.attempts
        with self._store.write() as connection:
            infrastructures.hold(connection, job.node.infra_id)  # first, as everybody does: no deadlocks
            if job.first:
                self._unfreeze(connection, job, retry_at=retry_at, reason=reason, attempts=attempts)
            elif operations.give_back(
                connection,
                job.node.node_id,
                job.operation.token or "",
                retry_at=retry_at,
                reason=reason,
                attempts=attempts,
            ):
                nodes.move(connection, job.node.node_id, Lifecycle.CREATING, Lifecycle.CREATING, reason=reason)
        return ()

    def _not_yet(self, job: claims.CreateJob, problem: errors.NotYet) -> Sequence[Claim]:
        """What it needs is being prepared: it is asked for again, in the same place, and was not tried."""
        now = self._now()
        reason = status.Reason(code="preparing", arguments={"detail": str(problem)}, since=now)
        with self._store.write() as connection:
            infrastructures.hold(connection, job.node.infra_id)  # first, as everybody does: no deadlocks
            self._unfreeze(
                connection,
                job,
                retry_at=self._retries.after(1, now, problem),
                reason=reason,
                position=job.node.position,
                attempts=job.operation.attempts,
            )
        return ()

    def _refused(self, job: claims.CreateJob, problem: errors.ResourceError) -> Sequence[Claim]:
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
                return self._made_by_itself(job, earlier)
        if isinstance(problem, errors.NotYet):
            return self._not_yet(job, problem)
        permanent = isinstance(problem, errors.PermanentError)
        tried = (*job.operation.tried, *(() if node.position is None else (node.position,)))
        with self._store.write() as connection:
            infrastructures.lock(connection, node.infra_id)  # first, as everybody does: no deadlocks
            retry_at: float | None = self._retries.after(job.operation.attempts + 1, now, problem)
            if permanent:
                others = node.implementation is not None and self._others_left(connection, job, tried)
                retry_at = now if others else None
            code = "refused" if permanent else "refused_for_now"
            reason = status.Reason(code=code, arguments={"detail": str(problem)}, since=now)
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
                return self._wake(connection, node.infra_id, now)
        return ()

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
        position: int | None = None,
        **values: Any,
    ) -> bool:
        """Nothing is there: the next attempt chooses and renders afresh. position: of the implementation that it had
        best choose again."""
        token = job.operation.token or ""
        if not operations.give_back(
            connection, job.node.node_id, token, retry_at=retry_at, reason=reason, begun=False, **values
        ):
            return False
        unfrozen: dict[str, Any] = dict.fromkeys(("implementation", "inputs", "account", "context_hash", "called_at"))
        unfrozen["position"] = position
        origin = Lifecycle.PLANNED if job.node.implementation is None else Lifecycle.CREATING
        return nodes.move(connection, job.node.node_id, origin, Lifecycle.PLANNED, reason=reason, **unfrozen)

    def _wake(self, connection: sa.Connection, infra_id: str, now: float) -> Sequence[Claim]:
        claim = schedule.wake(connection, infra_id, now=now, token=self._new_id())
        return () if claim is None else (claim,)


def _created(node: instance.Instance, seen: resourcehandler.Seen) -> tuple[str, Mapping[str, Any]]:
    """The event that an instance has been made."""
    return "nodecreated", {"node_id": node.node_id, "node": node.node_name, "instance": seen.instance_id}


def _disowned(current: instance.Instance | None, seen: resourcehandler.Seen) -> bool:
    """Guard 1: a creation that comes back after its row was taken from it drops what it made, unless that is the
    very instance which is on record, or another is at it and will get the same one or find this one by its tag."""
    if current is None or current.lifecycle is Lifecycle.DROPPING:
        return True
    return current.lifecycle is Lifecycle.RUNNING and current.instance_id != seen.instance_id
