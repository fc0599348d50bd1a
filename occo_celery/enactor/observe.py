"""Looks at instances: one call an account, then config managers, then health checks, all with deadlines.

Called by passes.py, outside any transaction. Writes nothing; what does not answer is reported as not known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

from occo_celery import errors
from occo_celery.model import instance, observation, status
from occo_celery.plugins.configmanager import base as configmanager
from occo_celery.plugins.healthcheck import base as healthcheck
from occo_celery.plugins.healthcheck import run as checks
from occo_celery.plugins.resourcehandler import base as resourcehandler
from occo_celery.plugins.resourcehandler import clouds as accounts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is to be looked at: a running instance, and the names that its templates may use."""

    instance: instance.Instance
    names: Callable[[], Mapping[str, Any]]


@dataclass(slots=True)
class Answers:
    """What came back: observations by node_id, and which accounts answered or did not (with why)."""

    observations: dict[str, observation.Observation] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    missed: dict[str, str] = field(default_factory=dict)


class Observer:
    """Made once a process, by wiring.

    deadline: seconds that an account has to answer; health_limit: seconds that a check has.
    """

    def __init__(
        self,
        clouds: accounts.Clouds,
        manager: Callable[[Mapping[str, Any]], configmanager.ConfigManager],
        health_checks: Mapping[str, healthcheck.HealthCheck],
        *,
        deadline: float,
        health_limit: float,
    ) -> None:
        self._clouds, self._manager, self._checks = clouds, manager, health_checks
        self._deadline, self._health_limit = deadline, health_limit
        self._pool: futures.ThreadPoolExecutor | None = None

    def observe(self, looks: Sequence[Look], silent: Mapping[str, str]) -> Answers:
        """Observations of all looks. silent: accounts not to be asked now, with the reason."""
        answers = Answers()
        seen = self._list(looks, silent, answers)
        self._ask_managers_and_checks(looks, seen, answers)
        return answers

    def _list(
        self, looks: Sequence[Look], silent: Mapping[str, str], answers: Answers
    ) -> dict[str, tuple[resourcehandler.Seen, ...]]:
        """Ask every account at the same time; one that is slow costs the others nothing."""
        by_account: dict[str, list[instance.Instance]] = {}
        for look in looks:
            assert look.instance.account is not None
            by_account.setdefault(look.instance.account, []).append(look.instance)
        asked = {
            name: self._executor().submit(self._list_account, name, some)
            for name, some in by_account.items()
            if name not in silent
        }
        seen: dict[str, tuple[resourcehandler.Seen, ...]] = {}
        for name, future in asked.items():
            try:
                seen.update(future.result(timeout=self._deadline + 1.0))
                answers.answered.add(name)
            except (errors.ResourceError, TimeoutError) as problem:
                answers.missed[name] = str(problem) or f"no answer within {self._deadline:g} s"
            except Exception as problem:
                log.exception("account %s: the list of its instances failed", name)
                answers.missed[name] = f"{type(problem).__name__}: {problem}"
        return seen

    def _list_account(
        self, name: str, some: Sequence[instance.Instance]
    ) -> Mapping[str, tuple[resourcehandler.Seen, ...]]:
        implementation = some[0].implementation
        assert implementation is not None
        handler = self._clouds.handler(name, implementation["resource"])
        return handler.observe([one.node_id for one in some], self._deadline)

    def _executor(self) -> futures.ThreadPoolExecutor:
        if self._pool is None:  # not in __init__: a worker forks after it
            self._pool = futures.ThreadPoolExecutor(max_workers=32, thread_name_prefix="observe")
        return self._pool

    def _ask_managers_and_checks(
        self, looks: Sequence[Look], seen: Mapping[str, tuple[resourcehandler.Seen, ...]], answers: Answers
    ) -> None:
        jobs: list[checks.Job] = []
        drafts: dict[str, tuple[Look, tuple[observation.Sighting, ...] | None, status.Finding | None]] = {}
        for look in looks:
            one = look.instance
            sightings = _sightings(seen.get(one.node_id))
            up = next((s for s in sightings or () if s.instance_id == one.instance_id), None)
            config = None
            if up is not None and up.state is status.NodeStatus.READY:
                addresses = up.addresses or one.addresses
                config = self._ask_manager(one, addresses)
                if config.status is status.NodeStatus.READY:
                    jobs.append(self._job(look, addresses))
            drafts[one.node_id] = (look, sightings, config)
        healths = (
            checks.examine_all(jobs, self._checks, limit=self._health_limit, deadline=self._deadline)
            if jobs and self._checks
            else {}
        )
        for node_id, (look, sightings, config) in drafts.items():
            answers.observations[node_id] = self._observation(look, sightings, config, healths.get(node_id), answers)

    def _ask_manager(self, one: instance.Instance, addresses: tuple[str, ...]) -> status.Finding:
        assert one.implementation is not None
        section = one.implementation.get("config_management") or {"type": "dummy"}
        try:
            return self._manager(section).observe(one.infra_id, one.node_id, addresses, self._deadline)
        except errors.ResourceError as problem:
            reason = status.Reason(code="config_manager_silent", arguments={"detail": str(problem)})
            return status.Finding(status=status.NodeStatus.UNKNOWN, reason=reason)

    def _job(self, look: Look, addresses: tuple[str, ...]) -> checks.Job:
        assert look.instance.implementation is not None
        section = look.instance.implementation.get("health_check") or {}
        names = look.names() if section.get("urls") else {}
        target = healthcheck.Target(node_id=look.instance.node_id, addresses=addresses, names=names)
        return checks.Job(target=target, section=section)

    def _observation(
        self,
        look: Look,
        sightings: tuple[observation.Sighting, ...] | None,
        config: status.Finding | None,
        health: status.Finding | None,
        answers: Answers,
    ) -> observation.Observation:
        one = look.instance
        assert one.implementation is not None
        assert one.account is not None
        silence = None
        if sightings is None:
            detail = answers.missed.get(one.account, "not asked: it did not answer lately")
            silence = status.Reason(code="account_silent", arguments={"detail": detail})
        section = one.implementation.get("health_check") or {}
        return observation.Observation(
            sightings=sightings,
            silence=silence,
            config=config,
            health=health,
            create_timeout=float(one.implementation.get("create_timeout", 1800.0)),
            health_timeout=float(section.get("timeout", 600.0)),
            absence_grace=self._clouds.traits(one.implementation["resource"]).absence_grace,
        )


def _sightings(
    seen: tuple[resourcehandler.Seen, ...] | None,
) -> tuple[observation.Sighting, ...] | None:
    if seen is None:
        return None
    return tuple(
        observation.Sighting(instance_id=one.instance_id, state=one.state, reason=one.reason, addresses=one.addresses)
        for one in seen
    )
