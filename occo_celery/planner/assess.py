"""From what was seen of an instance to its status: an ordered list of cases, the first that matches counts.

The composition is that of Occopus: the cloud's word first, then the config manager's, then the health checks'. What
is not known never counts as failed. Called by enactor/passes.py before plan().
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from occo_celery.model.instance import Instance, Lifecycle
from occo_celery.model.observation import Observation, Sighting
from occo_celery.model.status import LOST, Finding, NodeStatus, Reason, worst


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The arguments of every case. How long something has gone on is counted from the answer to the look that first
    saw it until the question of this one: whoever asks may stand still in between, and a list is no younger then."""

    instance: Instance
    observation: Observation
    asked: float
    now: float

    @property
    def sighting(self) -> Sighting | None:
        return self.observation.recorded(self.instance.instance_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    status: NodeStatus
    reason: Reason
    failing: bool = False
    missing: bool = False


def assess(instance: Instance, observation: Observation | None, *, asked: float, now: float) -> Instance:
    """The instance with its status, reason and the times that go with them brought up to date.

    observation: None for an instance that is not looked at, because nothing is known to be there (planned,
    creating) or it is on its way out. asked: when it began to be looked at; now: since all have answered; seconds
    since the epoch.
    """
    if instance.lifecycle is not Lifecycle.RUNNING or observation is None:
        return instance
    seen = _Seen(instance=instance, observation=observation, asked=asked, now=now)
    verdict = next(verdict for case in CASES if (verdict := case(seen)) is not None)
    return _with(seen, verdict)


def _with(seen: _Seen, verdict: _Verdict) -> Instance:
    old, sighting = seen.instance, seen.sighting
    same = verdict.reason.same(old.reason) and verdict.status is old.status
    return replace(
        old,
        status=verdict.status,
        reason=old.reason if same else replace(verdict.reason, since=seen.now),
        addresses=sighting.addresses if sighting is not None and sighting.addresses else old.addresses,
        ready_at=old.ready_at or (seen.now if verdict.status is NodeStatus.READY else None),
        failing_since=_since(old.failing_since, verdict.failing, verdict.status is NodeStatus.UNKNOWN, seen.now),
        missing_since=_since(old.missing_since, verdict.missing, seen.observation.sightings is None, seen.now),
        lost_at=_since(old.lost_at, verdict.status in LOST, verdict.status is NodeStatus.UNKNOWN, seen.now),
    )


def _since(since: float | None, goes_on: bool, not_known: bool, now: float) -> float | None:
    """When a state began that lasts until it is seen to have ended; not knowing neither begins nor ends it."""
    if goes_on:
        return since if since is not None else now
    return since if not_known else None


def _account_silent(seen: _Seen) -> _Verdict | None:
    if seen.observation.sightings is not None:
        return None
    reason = seen.observation.silence or Reason(code="account_silent")
    return _Verdict(status=NodeStatus.UNKNOWN, reason=reason)


def _vanished(seen: _Seen) -> _Verdict | None:
    """Not listed, seen twice, for longer than the cloud may lag behind: it is gone."""
    if seen.sighting is not None or seen.instance.missing_since is None:
        return None
    if seen.asked - seen.instance.missing_since < seen.observation.absence_grace:
        return None
    return _Verdict(
        status=NodeStatus.FAILED,
        reason=Reason(code="vanished", arguments={"instance": seen.instance.instance_id}),
        missing=True,
    )


def _not_listed(seen: _Seen) -> _Verdict | None:
    if seen.sighting is not None:
        return None
    reason = Reason(code="not_listed", arguments={"instance": seen.instance.instance_id})
    return _Verdict(status=NodeStatus.UNKNOWN, reason=reason, missing=True)


def _never_came_up(seen: _Seen) -> _Verdict | None:
    """Pending, by whoever says so, for longer than create_timeout."""
    assert seen.sighting is not None
    finding = _finding(seen)
    if finding is None or finding.status is not NodeStatus.PENDING or seen.instance.ready_at is not None:
        return None
    if seen.asked - (seen.instance.called_at or seen.instance.created_at) < seen.observation.create_timeout:
        return None
    return _Verdict(
        status=NodeStatus.FAILED,
        reason=Reason(
            code="create_timeout",
            arguments={
                "limit": f"not ready within {seen.observation.create_timeout:g} s",
                "last": finding.reason.text(),
            },
        ),
    )


def _unhealthy_too_long(seen: _Seen) -> _Verdict | None:
    finding = _finding(seen)
    since = seen.instance.failing_since
    if finding is None or finding.status is not NodeStatus.TEMP_FAILED or since is None:
        return None
    if seen.asked - since < seen.observation.health_timeout:
        return None
    return _Verdict(
        status=NodeStatus.FAILED,
        reason=Reason(
            code="unhealthy",
            arguments={"limit": f"for {seen.observation.health_timeout:g} s", "last": finding.reason.text()},
        ),
        failing=True,
    )


def _as_found(seen: _Seen) -> _Verdict | None:
    finding = _finding(seen)
    if finding is None:
        return None
    return _Verdict(status=finding.status, reason=finding.reason, failing=finding.status is NodeStatus.TEMP_FAILED)


def _ready(seen: _Seen) -> _Verdict | None:
    return _Verdict(status=NodeStatus.READY, reason=Reason(code="ready"))


CASES: tuple[Callable[[_Seen], _Verdict | None], ...] = (
    _account_silent,
    _vanished,
    _not_listed,
    _never_came_up,
    _unhealthy_too_long,
    _as_found,
    _ready,
)


def _finding(seen: _Seen) -> Finding | None:
    """What is held against the instance; None when all that were asked are content."""
    assert seen.sighting is not None
    if seen.sighting.state is not NodeStatus.READY:
        return Finding(status=seen.sighting.state, reason=seen.sighting.reason)
    found = [one for one in (seen.observation.config, _health(seen)) if one is not None]
    finding = worst(found)
    return None if finding is None or finding.status is NodeStatus.READY else finding


def _health(seen: _Seen) -> Finding | None:
    """A check that fails before the instance was ever ready: it is still coming up."""
    health = seen.observation.health
    if health is None or health.status is not NodeStatus.TEMP_FAILED or seen.instance.ready_at is not None:
        return health
    return replace(health, status=NodeStatus.PENDING)
