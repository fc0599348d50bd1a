"""The messages of a run: lost, doubled, late, overtaken, published though the publisher saw an error.

A Sender is the Send of one incarnation; the Broker hands what has arrived to workers that wait for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from occo_celery import errors, wiring
from occo_celery.infraprocessor import teardown
from occo_celery.model.instance import Operation
from occo_celery.model.message import Chain, Claim
from occo_celery.simulation import baton, faults, life, ports

#: Seconds: an ordinary message takes at most this long, one that is late at most that long.
PROMPT = 0.05
LATE = 60.0


#: What a worker does with a message.
Act = Callable[[wiring.System], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """name: for the trace; act: what a worker does with it; sent: its number, in the order of publishing."""

    name: str
    act: Act
    sent: int


class Broker:
    """Holds messages until it is time, then hands each to a worker."""

    def __init__(self, the_baton: baton.Baton, trouble: faults.Faults, rng: random.Random) -> None:
        self._baton, self._faults, self._rng = the_baton, trouble, rng
        self._ready: list[Message] = []
        self._idle: list[baton.Actor] = []
        self._sent = self._latest = 0

    def publish(self, name: str, act: Act, after: float = 0.0) -> None:
        """Take a message in, and lose, double or delay it."""
        self._sent += 1
        message = Message(name=name, act=act, sent=self._sent)
        if self._faults.happens("message lost"):
            return
        copies = 2 if self._faults.happens("message doubled") else 1
        for _ in range(copies):
            late = self._rng.random() * (LATE if self._faults.happens("message delayed") else PROMPT)
            self._baton.call(after + late, lambda: self._arrive(message))

    def redeliver(self, message: Message) -> None:
        """Its worker died: it comes again, or was lost with the worker."""
        if self._faults.happens("message redelivered"):
            self._baton.call(self._rng.random() * LATE, lambda: self._arrive(message))

    def take(self) -> Message:
        """By a worker: the next message; waits for one."""
        while not self._ready:
            assert self._baton.current is not None
            self._idle.append(self._baton.current)
            self._baton.park()
        return self._ready.pop(0)

    def _arrive(self, message: Message) -> None:
        if message.sent < self._latest:
            self._faults.counts["message reordered"] += self._faults.on
        self._latest = max(self._latest, message.sent)
        self._ready.append(message)
        if self._idle:
            self._baton.wake(self._idle.pop(self._rng.randrange(len(self._idle))))


class Sender:
    """The system's Send, of one incarnation."""

    def __init__(
        self,
        broker: Broker,
        mine: life.Life,
        the_baton: baton.Baton,
        trouble: faults.Faults,
        outages: ports.Outages,
        rng: random.Random,
    ) -> None:
        self._broker, self._life, self._baton = broker, mine, the_baton
        self._faults, self._outages, self._rng = trouble, outages, rng

    def check(self) -> None:
        self._refuse()

    def passes(self, claim: Claim) -> None:
        self._send(f"pass {claim.infra_ids}", lambda system: system.enactor.run(claim), claim.after)

    def operations(self, operations: Sequence[Operation]) -> None:
        """In sets of as many as the seed decides: creations and drops mixed, which no sender of ours does."""
        rest = [one.target for one in operations]
        while rest:
            count = self._rng.randint(1, len(rest))
            self._send(" ".join(rest[:count]), _perform(rest[:count]))
            rest = rest[count:]

    def teardown(self, chain: Chain) -> None:
        self._send(f"teardown {chain.infra_id}", lambda system: self._link(system, chain, chain.stage, 0))

    def sweep(self, account: str) -> None:
        self._send(f"sweep {account}", lambda system: system.sweeper.sweep(account))

    def _link(self, system: wiring.System, chain: Chain, stage: int, retries: int) -> None:
        """One link, then the next or, if it is not done, the same again: as tasks/entry.py has Celery do it."""
        links = system.teardown
        act = links.drop_level if stage < chain.levels else links.sweep if stage == chain.levels else links.finish
        done = act(chain.infra_id, chain.token, stage)
        following, again = (stage + 1, 0) if done else (stage, retries + 1)
        if following < chain.levels + 2:
            wait = 0.0 if done else teardown.again_after(retries, system.settings.instructions.resend)
            name = f"teardown {chain.infra_id} {following}"
            self._broker.publish(name, lambda other: self._link(other, chain, following, again), wait)

    def _send(self, name: str, act: Act, after: float = 0.0) -> None:
        self._life.point("before send")
        self._refuse()
        self._baton.note(f"sends {name}")
        self._broker.publish(name, act, after)
        if self._faults.happens("message published, an error seen"):
            raise errors.BrokerUnavailable("simulated: the connection broke after the message")
        self._life.point("after send")

    def _refuse(self) -> None:
        if self._outages.broker > self._baton.now or self._faults.happens("broker refuses"):
            raise errors.BrokerUnavailable("simulated: the broker does not answer")


def _perform(targets: Sequence[str]) -> Act:
    return lambda system: system.infraprocessor.perform(targets)
