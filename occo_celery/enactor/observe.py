"""Looks at instances: one call an account, then config managers, then health checks, all with deadlines.

Called by passes.py, outside any transaction. Writes nothing; what does not answer is reported as not known.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from occo_celery import errors
from occo_celery.model import instance, observation, status
from occo_celery.plugins import unexpected
from occo_celery.plugins.configmanager import base as configmanager
from occo_celery.plugins.healthcheck import base as healthcheck
from occo_celery.plugins.healthcheck import run as checks
from occo_celery.plugins.resourcehandler import base as resourcehandler
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds.glances import Glance

log = logging.getLogger(__name__)

#: Implementations that are kept parsed; there are as many as there are different ones in use.
KINDS = 2000
_READY = status.NodeStatus.READY
#: As json.loads, in half the time: what is stored has no space around it.
_decoded = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is to be looked at: a running instance, and the names that its templates may use."""

    instance: instance.Instance
    names: Callable[[], Mapping[str, Any]]


@dataclass(slots=True)
class Answers:
    """What came back: what the clouds list, by node_id; observations of what was looked at, by node_id; which
    accounts answered or did not (with why); and why others were not asked."""

    seen: dict[str, tuple[resourcehandler.Seen, ...]] = field(default_factory=dict)
    observations: dict[str, observation.Observation] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    missed: dict[str, str] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    def confirm(self, glance: Glance) -> bool:
        """Is it still there as it is on record, alone under its tag, and running?"""
        seen = self.seen.get(glance.node_id, ())
        if len(seen) != 1 or seen[0].instance_id != glance.instance_id:
            return False
        addresses = seen[0].addresses
        return seen[0].state is _READY and (not addresses or list(addresses) == _decoded(glance.addresses)[0])


@dataclass(slots=True)
class _Wanted:
    """What one account is asked for. resource: a section that leads there."""

    resource: Mapping[str, Any]
    node_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a glance needs to know of all instances with the same implementation. listed: the cloud's list says all
    there is to know of them (no config manager, no check is asked)."""

    resource: Mapping[str, Any]
    listed: bool


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
        self._kinds: Mapping[str | None, Kind] = {}

    def observe(
        self,
        looks: Sequence[Look],
        silent: Mapping[str, str],
        glances: Sequence[Glance] = (),
        kinds: Mapping[str | None, Kind] = MappingProxyType({}),
    ) -> Answers:
        """Observations of all looks, and what is listed of the glances. silent: accounts not to be asked now, with
        the reason. kinds: of all glances, by their made_from."""
        answers, wanted = Answers(silent=silent), dict[str, _Wanted]()
        for glance in glances:
            if (account := wanted.get(glance.account)) is None:
                account = wanted[glance.account] = _Wanted(kinds[glance.made_from].resource)
            account.node_ids.append(glance.node_id)
        for look in looks:
            name, implementation = look.instance.account, look.instance.implementation
            assert name is not None
            assert implementation is not None
            wanted.setdefault(name, _Wanted(implementation["resource"])).node_ids.append(look.instance.node_id)
        self._list(wanted, answers)
        self._ask_managers_and_checks(looks, answers)
        return answers

    def kinds(
        self, wanted: Collection[str], read: Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]
    ) -> Mapping[str | None, Kind]:
        """What is wanted, by what a glance calls made_from. read: the implementations of those not met before."""
        known = self._kinds
        new = [one for one in wanted if one not in known]
        if new:
            if len(known) + len(new) > KINDS:
                known = {one: known[one] for one in wanted if one in known}
            known = {**known, **{one: self._kind(told) for one, told in read(new).items()}}
            self._kinds = known  # another one: threads may be reading what it was
        return known

    def _kind(self, implementation: Mapping[str, Any]) -> Kind:
        managed = (implementation.get("config_management") or {"type": "dummy"})["type"] != "dummy"
        asked = checks.asks(implementation.get("health_check") or {}, self._checks)
        return Kind(resource=implementation["resource"], listed=not managed and not asked)

    def _list(self, wanted: Mapping[str, _Wanted], answers: Answers) -> None:
        """Ask every account at the same time; one that is slow costs the others nothing."""
        asked = {
            name: self._executor().submit(self._list_account, name, one)
            for name, one in wanted.items()
            if name not in answers.silent
        }
        for name, future in asked.items():
            try:
                answers.seen.update(future.result(timeout=self._deadline + 1.0))
                answers.answered.add(name)
            except (errors.ResourceError, TimeoutError) as problem:
                answers.missed[name] = str(problem) or f"no answer within {self._deadline:g} s"
            except Exception as problem:  # noqa: BLE001  # logged without its words
                kind = unexpected.logged(log, f"account {name}: the list of its instances", problem)
                answers.missed[name] = f"{kind}; the log of the worker says where"

    def _list_account(self, name: str, wanted: _Wanted) -> Mapping[str, tuple[resourcehandler.Seen, ...]]:
        return self._clouds.handler(name, wanted.resource).observe(wanted.node_ids, self._deadline)

    def _executor(self) -> futures.ThreadPoolExecutor:
        if self._pool is None:  # not in __init__: a worker forks after it
            self._pool = futures.ThreadPoolExecutor(max_workers=32, thread_name_prefix="observe")
        return self._pool

    def _ask_managers_and_checks(self, looks: Sequence[Look], answers: Answers) -> None:
        jobs: list[checks.Job] = []
        drafts: dict[str, tuple[Look, tuple[observation.Sighting, ...] | None, status.Finding | None]] = {}
        for look in looks:
            one = look.instance
            sightings = _sightings(answers.seen.get(one.node_id))
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
        rendered = any(check.renders and section.get(name) for name, check in self._checks.items())
        names = look.names() if rendered else {}
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
            detail = answers.missed.get(one.account) or answers.silent.get(one.account, "it did not tell")
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
