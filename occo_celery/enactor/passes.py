"""A pass over a set of infrastructures: lease, observe, plan, record, send. Called by the task of that name.

A set of one is the ordinary case. Two transactions, nothing held between them but leases; whatever dies in between
is repaired by the next pass. The failure of one infrastructure touches no other of its set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.enactor import observe, record
from occo_celery.model import description, instance
from occo_celery.model.message import Claim, Send
from occo_celery.model.request import Request
from occo_celery.planner import assess, breaker, plan, scaling
from occo_celery.uds import accounts, infrastructures, requests, schedule
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)

#: Seconds for which an account that did not answer is left alone.
SILENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds that a pass may take until its lease is over; creations in flight an infrastructure; seconds after
    which an instruction whose message was lost is sent again; who goes first when there are too many; when healing
    waits."""

    lease: float
    creations: int
    resend: float
    downscale: str
    breaker: breaker.Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the lease gave us: the infrastructures, their descriptions and requests, and accounts that are not to be
    asked."""

    leased: Sequence[schedule.Leased]
    descriptions: Mapping[str, description.StaticDescription]
    requests: Mapping[str, Sequence[Request]]
    silent: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look at the infrastructures of a set brought. opened: accounts on which healing waits from now on."""

    drafts: Sequence[record.Draft]
    answers: observe.Answers
    opened: Collection[str]
    now: float


#: Makes the names that an instance's templates may use; given by wiring.
Names = Callable[[description.StaticDescription, instance.Instance], Mapping[str, Any]]


class Enactor:
    """Makes passes. All that it needs is handed in: see wiring.py."""

    def __init__(
        self,
        *,
        store: Store,
        observer: observe.Observer,
        names: Names,
        send: Send,
        now: Callable[[], float],
        new_id: Callable[[], str],
        limits: Limits,
    ) -> None:
        self._store, self._observer, self._names, self._send = store, observer, names, send
        self._now, self._new_id, self._limits = now, new_id, limits
        self._descriptions = infrastructures.Descriptions()

    def run(self, claim: Claim) -> int:
        """Make the passes that a message asks for and SQL still wants; returns how many were made."""
        token, began = self._new_id(), self._now()
        with self._store.write() as connection:
            work = self._begin(connection, claim, token, began)
        if not work.leased:
            return 0
        found = self.examine(work)
        with self._store.write() as connection:
            intents, claims = self._record(connection, token, found.drafts, found.answers, began)
            for account in found.opened:
                accounts.open_breaker(connection, account, now=found.now)
        self._send_all(intents, claims)
        return len(found.drafts)

    def examine(self, work: Work) -> Findings:
        """Observe and plan; nothing is written."""
        answers = self._observe(work)
        now = self._now()
        assessed = {one.infra.infra_id: self._assess(one, answers, now) for one in work.leased}
        judgement = self._judge([node for some in assessed.values() for node in some], now)
        drafts = [self._plan(one, work, assessed[one.infra.infra_id], answers, judgement, now) for one in work.leased]
        return Findings(drafts=drafts, answers=answers, opened=judgement.opened, now=now)

    def _begin(self, connection: sa.Connection, claim: Claim, token: str, now: float) -> Work:
        leased = schedule.lease(connection, claim, now=now, until=now + self._limits.lease, pass_token=token)
        keys = [(one.infra.infra_id, one.infra.generation) for one in leased]
        return Work(
            leased=leased,
            descriptions=self._descriptions.load(connection, keys) if keys else {},
            requests=requests.of(connection, [one.infra.infra_id for one in leased]) if leased else {},
            silent=self._silent(connection, leased, now),
        )

    def _silent(self, connection: sa.Connection, leased: Sequence[schedule.Leased], now: float) -> Mapping[str, str]:
        """Accounts not to be asked now: those that are silent, except for the one pass that probes them."""
        names = {node.account for one in leased for node in one.instances if node.account is not None}
        silent = {}
        for name, (_, until) in (accounts.silent(connection, names) if names else {}).items():
            if until is not None and not (
                until <= now and accounts.probe(connection, name, seen=until, until=now + SILENCE)
            ):
                silent[name] = "it did not answer lately"
        return silent

    def _observe(self, work: Work) -> observe.Answers:
        looks = [
            observe.Look(instance=node, names=_bind(self._names, work.descriptions[node.infra_id], node))
            for one in work.leased
            for node in one.instances
            if node.lifecycle is instance.Lifecycle.RUNNING
            and node.node_name in work.descriptions[node.infra_id].node_lookup
        ]
        return self._observer.observe(looks, work.silent)

    def _assess(self, leased: schedule.Leased, answers: observe.Answers, now: float) -> Sequence[instance.Instance]:
        return [assess.assess(node, answers.observations.get(node.node_id), now=now) for node in leased.instances]

    def _judge(self, assessed: Sequence[instance.Instance], now: float) -> breaker.Judgement:
        """On which accounts healing waits. Costs nothing while nothing is lost."""
        concerned = {one.account for one in breaker.lost(assessed) if one.account is not None}
        if not concerned:
            return breaker.Judgement(held={}, opened=())
        with self._store.read() as connection:
            standings = accounts.standings(connection, concerned, since=now - breaker.WINDOW)
        return breaker.judge(assessed, standings, self._limits.breaker, now=now)

    def _plan(
        self,
        leased: schedule.Leased,
        work: Work,
        assessed: Sequence[instance.Instance],
        answers: observe.Answers,
        judgement: breaker.Judgement,
        now: float,
    ) -> record.Draft:
        """The pure part, for one infrastructure; what goes wrong in it is that infrastructure's error."""
        infra = leased.infra
        asked, desired = work.requests.get(infra.infra_id, ()), work.descriptions[infra.infra_id]
        try:
            scaled = scaling.apply(desired, infra.targets, asked)
            seen = [
                breaker.hold(old, new, judgement.held, now=now)
                for old, new in zip(leased.instances, assessed, strict=True)
            ]
            delta = plan.plan(
                desired,
                seen,
                scaled,
                bootstrapped=infra.bootstrapped_at is not None,
                limits=plan.Limits(
                    strategy=leased.row.strategy,
                    creations=self._limits.creations,
                    downscale=self._limits.downscale,
                ),
                held=judgement.held.keys(),
            )
        except Exception as problem:
            log.exception("pass of infrastructure %s failed", infra.infra_id)
            return record.Draft(leased=leased, error=f"{type(problem).__name__}: {problem}")
        strays = {
            node.node_id: found
            for node in leased.instances
            if (one := answers.observations.get(node.node_id)) is not None and (found := one.strays(node.instance_id))
        }
        return record.Draft(leased=leased, assessed=seen, delta=delta, scaled=scaled, strays=strays)

    def _record(
        self,
        connection: sa.Connection,
        token: str,
        drafts: Sequence[record.Draft],
        answers: observe.Answers,
        began: float,
    ) -> tuple[list[instance.Operation], Sequence[Claim]]:
        now = self._now()
        released = schedule.release(connection, token)
        intents: list[instance.Operation] = []
        outcomes = []
        for draft in drafts:
            ours = released.get(draft.leased.infra.infra_id)
            if ours is None:
                log.info("pass of %s: the lease was lost, nothing is written", draft.leased.infra.infra_id)
                continue
            recorder = record.Recorder(connection, draft, now=now, new_id=self._new_id, resend=self._limits.resend)
            intents += recorder.write(
                planned_for_current=ours.generation == draft.leased.infra.generation,
                undisturbed=ours.wake == draft.leased.infra.wake,
            )
            outcomes.append(draft.outcome(now))
        woken = schedule.finish(connection, outcomes, released, now=now, duration=now - began)
        self._record_accounts(connection, answers, now)
        return intents, schedule.claim_woken(connection, woken, now=now, token=self._new_id())

    def _record_accounts(self, connection: sa.Connection, answers: observe.Answers, now: float) -> None:
        concerned = answers.answered | set(answers.missed)
        back = (
            [name for name in accounts.silent(connection, concerned) if name in answers.answered] if concerned else []
        )
        if back:
            accounts.answered(connection, back)
        for name, why in answers.missed.items():
            accounts.missed(connection, name, reason=why, now=now, pause=SILENCE)

    def _send_all(self, intents: Sequence[instance.Operation], claims: Sequence[Claim]) -> None:
        try:
            if intents:
                self._send.operations(intents)
            for claim in claims:
                self._send.passes(claim)
        except errors.BrokerUnavailable as problem:
            log.warning("%s; beat will send what this pass recorded", problem)


def _bind(
    names: Names, desired: description.StaticDescription, node: instance.Instance
) -> Callable[[], Mapping[str, Any]]:
    return lambda: names(desired, node)
