"""A pass over a set of infrastructures: lease, observe, plan, record, send. Called by the task of that name.

A set of one is the ordinary case. Two transactions, nothing held between them but leases; whatever dies in between
is repaired by the next pass. The failure of one infrastructure touches no other of its set.

Of what was ready a glance comes first, without a lease (uds/glances.py), in two statements, each by itself; if that
finds anything, a round with a lease follows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.enactor import observe, record
from occo_celery.model import description, instance
from occo_celery.model.message import Claim, Send
from occo_celery.model.request import Request
from occo_celery.planner import assess, breaker, plan, scaling
from occo_celery.uds import accounts, glances, infrastructures, leases, requests, schedule
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)

#: Why nothing is known of what is on an account that is left alone.
SILENT = "not asked: it did not answer lately"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds that a pass may take until its lease is over; infrastructures that travel together; creations in flight
    an infrastructure; seconds after which an instruction whose message was lost is sent again; who goes first when
    there are too many; when healing waits."""

    lease: float
    batch: int
    creations: int
    resend: float
    downscale: str
    breaker: breaker.Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be looked at.

    leased: infrastructures of which everything was read, with their descriptions and requests. calm: those that seem
    to be as they should be, with a glance at their instances. kinds: what is to be known of these. silent: accounts
    that are not to be asked, and why. shaky: those that missed an answer lately.
    """

    leased: Sequence[leases.Leased]
    descriptions: Mapping[str, description.StaticDescription]
    requests: Mapping[str, Sequence[Request]]
    silent: Mapping[str, str]
    shaky: Collection[str] = ()
    calm: Mapping[str, Sequence[glances.Glance]] = field(default_factory=dict)
    kinds: Mapping[str | None, observe.Kind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look at the infrastructures of a set brought. steady: of the calm ones, those of which nothing has
    changed. opened: accounts on which healing waits from now on."""

    steady: Collection[str]
    drafts: Sequence[record.Draft]
    answers: observe.Answers
    opened: Collection[str]
    now: float


#: Makes the names that an instance's templates may use; given by wiring.
Names = Callable[[description.StaticDescription, instance.Instance], Mapping[str, Any]]


class Enactor:
    """Makes passes. All that it needs is handed in: see wiring.py. send is called when there is something to send."""

    def __init__(
        self,
        *,
        store: Store,
        observer: observe.Observer,
        names: Names,
        send: Callable[[], Send],
        now: Callable[[], float],
        new_id: Callable[[], str],
        limits: Limits,
    ) -> None:
        self._store, self._observer, self._names, self._send = store, observer, names, send
        self._now, self._new_id, self._limits = now, new_id, limits
        self._descriptions = infrastructures.Descriptions()

    def run(self, claim: Claim) -> int:
        """Make the passes that a message asks for and SQL still wants; returns how many were made."""
        made, left, missed = self._pass(claim, closely=claim.woken)
        if left:  # something has changed in what seemed calm
            more, _, _ = self._pass(replace(claim, infra_ids=left), closely=True, missed=missed)
            made += more
        return made

    def _pass(
        self, claim: Claim, *, closely: bool = False, missed: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[int, tuple[str, ...], Mapping[str, str]]:
        """One round: how many passes were made; of which infrastructures a glance was not enough; and the accounts
        that did not answer. closely: no glances. missed: accounts that did not answer just now, and why."""
        token = self._new_id()
        began, calm, kinds = (None, {}, {}) if closely else self._glance(claim)
        others = replace(claim, infra_ids=tuple(one for one in claim.infra_ids if one not in calm))
        taken: Collection[str] = ()
        work = Work(leased=(), descriptions={}, requests={}, silent=missed)
        if others.infra_ids:
            with self._store.write() as connection:
                now = self._now()  # known once there is a connection
                began = now if began is None else began
                until = now + self._limits.lease
                taken = leases.take(connection, others, now=now, until=until, pass_token=token)
                if taken:  # what is planned under a lease that was lost is not written
                    self._store.may_be_lost(connection)
                    work = self._read(connection, token, taken, missed, now)
        if began is None or not (calm or taken):
            return 0, (), {}
        work = replace(work, calm=calm, kinds=kinds)
        found = self.examine(work)
        concerned = self._concerned(work, found)
        with self._store.write(alone=not (taken or concerned)) as connection:
            confirmed = self._confirm(connection, claim.token, work, found, began)
            intents, claims = self._record(connection, token, taken, found, began) if taken else ((), ())
            self._record_accounts(connection, work, found, concerned)
        self._send_all(intents, claims)
        left = tuple(one for one in calm if one not in confirmed)
        return len(taken) + len(confirmed), left, found.answers.missed

    def examine(self, work: Work) -> Findings:
        """Observe and plan; nothing is written."""
        asked = self._now()
        answers = self._observe(work)
        steady = [one for one, some in work.calm.items() if all(answers.confirm(glance) for glance in some)]
        now = self._now()
        assessed = {one.infra.infra_id: self._assess(one, answers, asked, now) for one in work.leased}
        judgement = self._judge([node for some in assessed.values() for node in some], asked, now)
        drafts = [self._plan(one, work, assessed[one.infra.infra_id], answers, judgement, now) for one in work.leased]
        return Findings(steady=steady, drafts=drafts, answers=answers, opened=judgement.opened, now=now)

    def _glance(
        self, claim: Claim
    ) -> tuple[float, Mapping[str, Sequence[glances.Glance]], Mapping[str | None, observe.Kind]]:
        """When it was, and what ``_calm`` finds. That is one statement, but where an implementation is new or an
        account missed an answer lately; what is read of these may be newer."""
        with self._store.read(alone=True) as connection:
            began = self._now()  # known once there is a connection
            return began, *self._calm(connection, claim)

    def _calm(
        self, connection: sa.Connection, claim: Claim
    ) -> tuple[Mapping[str, Sequence[glances.Glance]], Mapping[str | None, observe.Kind]]:
        """Those of which nothing needs to be known but what the clouds list, and the kinds of their instances.

        What is on an account that missed an answer lately is not calm, since it matters who asks there, and when.
        """
        found = glances.take(connection, claim)
        kinds = self._observer.kinds(
            {glance.made_from for some in found.values() for glance in some if glance.made_from is not None},
            lambda wanted: glances.implementations(connection, found, wanted),
        )
        listed = {made_from for made_from, kind in kinds.items() if kind.listed}
        shaky = any(glance.shaky for some in found.values() for glance in some[:1])
        apart = accounts.silent(connection).keys() if shaky else ()
        calm = {
            infra_id: some
            for infra_id, some in found.items()
            if all(glance.settled and glance.made_from in listed and glance.account not in apart for glance in some)
        }
        return calm, kinds

    def _read(
        self,
        connection: sa.Connection,
        token: str,
        infra_ids: Collection[str],
        missed: Mapping[str, str],
        now: float,
    ) -> Work:
        """Everything of these infrastructures, whose leases are ours."""
        leased = leases.read(connection, token, infra_ids) if infra_ids else ()
        keys = [(one.infra.infra_id, one.infra.generation) for one in leased]
        asked = [one.infra.infra_id for one in leased if one.asked]
        names = {node.account for one in leased if one.shaky for node in one.instances if node.account}
        quiet = accounts.quiet(connection, names - missed.keys(), now=now)
        return Work(
            leased=leased,
            descriptions=self._descriptions.load(connection, keys) if keys else {},
            requests=requests.of(connection, asked) if asked else {},
            silent={**{name: SILENT for name, alone in quiet.items() if alone}, **missed},
            shaky=quiet.keys(),
        )

    def _observe(self, work: Work) -> observe.Answers:
        glanced = [glance for some in work.calm.values() for glance in some]
        return self._observer.observe(self._looks(work), work.silent, glanced, work.kinds)

    def _looks(self, work: Work) -> Sequence[observe.Look]:
        return [
            observe.Look(instance=node, names=_bind(self._names, work.descriptions[node.infra_id], node))
            for one in work.leased
            for node in one.instances
            if node.lifecycle is instance.Lifecycle.RUNNING
            and node.node_name in work.descriptions[node.infra_id].node_lookup
        ]

    def _assess(
        self, leased: leases.Leased, answers: observe.Answers, asked: float, now: float
    ) -> Sequence[instance.Instance]:
        seen = answers.observations
        return [assess.assess(node, seen.get(node.node_id), asked=asked, now=now) for node in leased.instances]

    def _judge(self, assessed: Sequence[instance.Instance], asked: float, now: float) -> breaker.Judgement:
        """On which accounts healing waits. Costs nothing while nothing is lost."""
        lost = Counter(one.account for one in breaker.lost(assessed) if one.account is not None)
        if not lost:
            return breaker.Judgement(held={}, opened=())
        policy = self._limits.breaker
        with self._store.read() as connection:
            standings = accounts.standings(
                connection,
                lost.keys(),
                since=now - breaker.WINDOW,
                most=lambda name, losses: breaker.enough(losses + lost[name], policy),
            )
        return breaker.judge(assessed, standings, policy, asked=asked, now=now)

    def _plan(
        self,
        leased: leases.Leased,
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

    def _confirm(
        self, connection: sa.Connection, token: str, work: Work, found: Findings, began: float
    ) -> Collection[str]:
        """Those of the steady ones that were left alone meanwhile: their pass is over."""
        if not found.steady:
            return ()
        now, wakes = self._now(), {infra_id: work.calm[infra_id][0].wake for infra_id in found.steady}
        return glances.confirm(connection, token, wakes, now=now, duration=now - began)

    def _record(
        self, connection: sa.Connection, token: str, taken: Collection[str], found: Findings, began: float
    ) -> tuple[Sequence[instance.Operation], Sequence[Claim]]:
        now = self._now()
        released = leases.release(connection, token, taken)
        intents: list[instance.Operation] = []
        outcomes = []
        for draft in found.drafts:
            ours = released.get(draft.leased.infra.infra_id)
            if ours is None:
                log.info("pass of %s: the lease was lost, nothing is written", draft.leased.infra.infra_id)
                continue
            recorder = record.Recorder(
                connection,
                draft,
                now=now,
                new_id=self._new_id,
                resend=self._limits.resend,
                batch=self._limits.batch,
            )
            intents += recorder.write(
                planned_for_current=ours.generation == draft.leased.infra.generation,
                undisturbed=ours.wake == draft.leased.infra.wake,
            )
            outcomes.append(draft.outcome(now))
        woken = schedule.finish(connection, outcomes, released, now=now, duration=now - began)
        return intents, schedule.claim_woken(connection, woken, now=now, token=self._new_id())

    def _concerned(self, work: Work, found: Findings) -> Collection[str]:
        """Accounts of which there is something to be noted."""
        answers = found.answers
        return (set(work.shaky) & answers.answered) | answers.missed.keys() | set(found.opened)

    def _record_accounts(
        self, connection: sa.Connection, work: Work, found: Findings, concerned: Collection[str]
    ) -> None:
        if not concerned:
            return
        accounts.lock(connection, concerned)
        for name in set(work.shaky) & found.answers.answered:
            accounts.answered(connection, name)
        for name, why in found.answers.missed.items():
            accounts.missed(connection, name, reason=why, now=found.now)
        for name in found.opened:
            accounts.open_breaker(connection, name, now=found.now)

    def _send_all(self, intents: Sequence[instance.Operation], claims: Sequence[Claim]) -> None:
        try:
            if intents:
                self._send().operations(intents)
            for claim in claims:
                self._send().passes(claim)
        except errors.BrokerUnavailable as problem:
            log.warning("%s; beat will send what this pass recorded", problem)


def _bind(
    names: Names, desired: description.StaticDescription, node: instance.Instance
) -> Callable[[], Mapping[str, Any]]:
    return lambda: names(desired, node)
