"""One run: the whole system in one process, from the first user to the last instance. Called by runs.py.

Chaos first, then calm in which everything must come to rest, then (of some runs) the end of everything. Workers,
beats and users are actors; each is a process, which dies and is started again as another incarnation.
"""

from __future__ import annotations

import itertools
import logging
import pathlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from occo_celery import errors, settings, wiring
from occo_celery.api.manager import InfrastructureManager
from occo_celery.enactor import observe
from occo_celery.infraprocessor.together import Together
from occo_celery.plugins.resourcehandler import simulated_cloud
from occo_celery.simulation import (
    baton,
    books,
    broker,
    calm,
    cloud,
    database,
    faults,
    interleaved,
    life,
    listening,
    ports,
    truth,
    users,
)
from occo_celery.tasks import scheduler
from occo_celery.uds import definitions
from occo_celery.uds.store import Store

START = 1_800_000_000.0
ENDPOINTS = ("one", "two")
#: Of the run's minutes, this share is chaos.
CHAOS = 2 / 3
ENACTOR = settings.Enactor(
    interval=60.0, longest_interval=240.0, pass_lease=20.0, batch=3, beat_poll=5.0, breaker_least=4
)
INSTRUCTIONS = settings.Instructions(
    lease=30.0, call_timeout=5.0, batch=1, backoff_longest=60.0, sweep_interval=240.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """violations: (name, what, step). trace: the same for every run of a seed. left: instances that only the sweep of
    whole accounts could find; they may come of calls that were sent after their time, and of nothing else."""

    seed: int
    mode: str
    virtual: float
    steps: int
    trace: int
    violations: tuple[tuple[str, str, int], ...]
    faults: dict[str, int]
    left: int


class System(wiring.System):
    """An incarnation's. Its store needs no look at the version, its observer no threads."""

    def __init__(self, *arguments: Any, store: Store, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.__dict__["store"] = store

    @property
    def observer(self) -> observe.Observer:
        limits = self.settings.enactor
        return ports.InlineObserver(
            self.clouds, self.manager, {}, deadline=limits.pass_deadline, health_limit=limits.health_limit
        )

    @property
    def together(self) -> Together:
        return ports.InlineTogether(self._rng)


class World:
    """Everything of one run. mode: ``tokens`` or ``no_tokens``; url: of a PostgreSQL database, instead of SQLite."""

    def __init__(
        self,
        seed: int,
        mode: str,
        minutes: float,
        tell: Callable[[str], None] | None = None,
        *,
        url: str | None = None,
    ) -> None:
        self.seed, self.mode, self.minutes = seed, mode, minutes
        self.rng = random.Random(f"{seed} {mode}")
        self.baton = baton.Baton(self.rng, START)
        self.baton.tell = tell
        self.faults = faults.Faults(self.rng)
        self.outages = ports.Outages()
        self.violations: list[tuple[str, str, int]] = []
        self.data = interleaved.Database(url) if url is not None else database.Database()
        self.books = books.Books(self.data, self.violated, self._healthy, lambda one: one in self.truth.late)
        self.lease, self.call_timeout = INSTRUCTIONS.lease, INSTRUCTIONS.call_timeout
        self.truth = truth.Truth(
            self.baton, self.books, self.violated, tokens=mode == "tokens", call_timeout=self.call_timeout
        )
        self.accounts = {
            name: cloud.Account(
                name, self.baton, self.faults, self.rng, call_timeout=self.call_timeout, made=self.truth.made
            )
            for name in ENDPOINTS
        }
        self.broker = broker.Broker(self.baton, self.faults, self.rng)
        self.users = users.Scripts(self.rng, self.books, self.truth, self.baton)
        self.calm = False
        self._numbers = itertools.count(1)
        self._config = settings.Settings(
            source="simulation",
            home=pathlib.Path("."),
            uds_url=database.Database.url,
            broker_url="redis://",
            enactor=ENACTOR,
            instructions=INSTRUCTIONS,
        )
        self._define()
        self.data.attend(self.baton, self.violated)

    # --- making ---------------------------------------------------------------------------------------------------

    def _define(self) -> None:
        kind = {"tokens": "simulated", "no_tokens": "simulated_no_tokens"}[self.mode]

        def implementation(endpoint: str) -> dict[str, Any]:
            return {
                "resource": {"type": kind, "endpoint": endpoint},
                "health_check": {"ping": False},
                "create_timeout": cloud.CREATE_TIMEOUT,
            }

        both = [implementation(name) for name in ENDPOINTS]
        with self.data.engine.begin() as connection:
            definitions.replace(connection, {"t": both, "u": both[:1]}, now=START)

    def incarnation(self, name: str) -> System:
        """A process of its own: mortal, with its own connections and its own clock."""
        mine = life.Life(name, self.baton, self.faults, self.rng, stall=self.lease)
        assert self.baton.current is not None
        self.baton.current.life = mine
        skew = self.rng.uniform(-faults.SKEW, faults.SKEW)
        options = {
            kind: {
                "clock": self.baton.time,
                "sleep": self.baton.sleep,
                "random": self.rng,
                "accounts": self.accounts,
                "database": "/simulated",
            }
            for kind in cloud.HANDLERS
        }
        return System(
            self._config,
            store=ports.MortalStore(self.data, mine, self.baton, self.faults, self.outages, self.books.check),
            send=broker.Sender(self.broker, mine, self.baton, self.faults, self.outages, self.rng),
            clouds=ports.MortalClouds(mine, options, cloud.HANDLERS.__getitem__),
            now=lambda: self.baton.time() + skew,
            new_id=lambda: f"id-{next(self._numbers):05d}",
            rng=self.rng,
            sleep=self.baton.sleep,
        )

    def violated(self, name: str, what: str) -> None:
        self.baton.note(f"VIOLATION {name}: {what}")
        self.violations.append((name, what, self.baton.steps))

    def _healthy(self, account: str, instance_id: str) -> bool:
        return self.accounts[account.rpartition(":")[2]].healthy(instance_id)

    # --- the actors -----------------------------------------------------------------------------------------------

    def _process(self, name: str, live: Callable[[System], None]) -> Callable[[], None]:
        """A process that is started again whenever it dies."""

        def body() -> None:
            while True:
                try:
                    live(self.incarnation(name))
                    return
                except life.Death as death:
                    self.baton.note(f"dies: {death}")
                    self.baton.sleep(self.rng.random() * 20)

        return body

    def _work(self, system: System) -> None:
        while True:
            message = self.broker.take()
            self.baton.note(f"takes {message.name}")
            try:
                message.act(system)
            except errors.OccoError as problem:
                self.baton.note(f"{type(problem).__name__}: {problem}")
            except life.Death:
                self.broker.redeliver(message)
                raise

    def _beat(self, system: System, until: float = 1e12) -> None:
        due = scheduler.Due(system)
        self.baton.sleep(self.rng.random() * due.poll)
        while self.baton.now < until:
            # The beat's own look, which mostly finds nothing, is what a run would be busiest with.
            if self.outages.beats <= self.baton.now and (self._due() or self.rng.random() < 0.05):
                try:
                    due.publish()
                except errors.OccoError as problem:
                    self.baton.note(f"beat: {problem}")
            self.baton.sleep(due.poll)

    def _due(self) -> bool:
        sources = (("next_due", "schedule"), ("due", "operations"), ("sweep_due", "accounts"))
        sql = " UNION ALL ".join(f"SELECT min({column}) FROM {table}" for column, table in sources)  # noqa: S608
        return any(when is not None and when <= self.baton.now for (when,) in self.data.rows(sql))

    def _use(self, system: System) -> None:
        manager = InfrastructureManager(self.rng.choice(("parallel", "sequential")), system=system)
        while not self.calm:
            try:
                self.users.act(manager)
            except errors.OccoError as problem:
                self.baton.note(f"user: {problem}")
            self.baton.sleep(self.rng.expovariate(1 / 60.0))

    def _weather(self) -> None:
        while True:
            after, kind = self.faults.weather()
            self.baton.sleep(after)
            if self.calm:
                return
            self._strike(kind)

    def _strike(self, kind: str) -> None:
        now, lasts = self.baton.now, self.rng.random() * 120
        account = self.accounts[self.rng.choice(ENDPOINTS)]
        match kind:
            case "account silent":
                account.silent_until = now + lasts
            case "database gone":
                self.outages.database = now + lasts / 3
            case "broker gone":
                self.outages.broker = now + lasts
            case "beats stopped":
                self.outages.beats = now + lasts
            case "beat doubled":
                self.baton.spawn("beat doubled", self._process("beat", lambda one: self._beat(one, now + lasts)))
            case _:
                alive = self.alive(account)
                if not alive:
                    return
                victim = self.rng.choice(alive)
                account.kill(victim.node_id, listed=kind == "instance dies, is listed")
        self.baton.note(kind)
        self.faults.counts[kind] += 1

    def alive(self, *accounts: cloud.Account) -> list[simulated_cloud.Instance]:
        return [one for account in accounts or self.accounts.values() for one in account.instances()]

    # --- the play -------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """The whole run."""
        with listening.Listening(self.violated):
            self.baton.spawn("director", self._direct)
            try:
                self.baton.run()
            except Exception as problem:
                logging.getLogger(__name__).debug("broken", exc_info=problem)
                self.violated("broken", listening.place(problem))
        self.data.close()
        return Result(
            seed=self.seed,
            mode=self.mode,
            virtual=self.baton.now - START,
            steps=self.baton.steps,
            trace=self.baton.trace,
            violations=tuple(self.violations),
            faults=dict(self.faults.counts),
            left=self.books.swept,
        )

    def _direct(self) -> None:
        for number in range(3):
            self.baton.spawn(f"worker {number}", self._process("worker", self._work))
        for number in range(2):
            self.baton.spawn(f"beat {number}", self._process("beat", self._beat))
        for number in range(self.rng.randint(1, 2)):
            self.baton.spawn(f"user {number}", self._process("user", self._use))
        self.baton.spawn("weather", self._weather)
        self.baton.sleep(self.minutes * 60 * CHAOS)
        end = calm.End(self)
        end.calm_down()
        end.rest()
        if self.rng.random() < 0.5:
            end.end_everything()
        elif (left := START + self.minutes * 60 - self.baton.now) > 0:
            self.baton.sleep(left)
            end.compare("later")
        self.baton.end()
