"""The virtual clock and the baton: of all actors (threads) exactly one runs; letting go of the baton is passing time.

Used by everything in this package. Whoever lets go picks the next itself, in its own thread: the one whose time comes
first, by lot among those whose times are the same. So a run depends on its seed only.
"""

from __future__ import annotations

import heapq
import random
import threading
import zlib
from collections.abc import Callable
from typing import Any

#: A run that takes more steps than this goes round in circles.
MOST_STEPS = 1_000_000


class Over(BaseException):
    """The run has ended; unwinds an actor's thread. Not an Exception, so that nobody takes it for trouble."""


class Circles(Exception):
    """The run does not come to an end."""


class Actor:
    """A thread that runs while it has the baton. life: its present incarnation, if it is a process."""

    def __init__(self, name: str, body: Callable[[], None], baton: Baton) -> None:
        self.name = name
        self.life: Any = None
        self._body, self._baton = body, baton
        self.turn = threading.Lock()
        self.turn.acquire()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.turn.acquire()
        try:
            if not self._baton.over:
                self._body()
        except Over:
            pass
        except BaseException as problem:  # noqa: BLE001  # raised by run()
            self._baton.fail(problem)
        finally:
            self._baton.leave()


class Baton:
    """Virtual time, and whose turn it is. now: seconds since the epoch."""

    def __init__(self, rng: random.Random, now: float) -> None:
        self.now, self.over = now, False
        self.current: Actor | None = None
        self.steps, self.trace = 0, 0
        self.problem: BaseException | None = None
        self.tell: Callable[[str], None] | None = None
        self._rng, self._number = rng, 0
        self._line: list[tuple[float, float, int, Actor | Callable[[], None]]] = []
        self._ended = threading.Event()
        self._actors: list[Actor] = []

    def time(self) -> float:
        return self.now

    # --- outside -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let the actors act until nobody is left, then return; raises what broke one of them."""
        self._hand_on()
        self._ended.wait()
        for actor in self._actors:
            actor.thread.join()
        if self.problem is not None:
            raise self.problem

    # --- by whoever has the baton --------------------------------------------------------------------------------

    def spawn(self, name: str, body: Callable[[], None], after: float = 0.0) -> Actor:
        """A new actor, which begins ``after`` so many seconds."""
        actor = Actor(name, body, self)
        self._actors.append(actor)
        self.wake(actor, after)
        return actor

    def wake(self, actor: Actor, after: float = 0.0) -> None:
        """It is the turn of a parked actor then."""
        self._enter(after, actor)

    def call(self, after: float, act: Callable[[], None]) -> None:
        """Have something done then, by whoever passes the baton at that time; it must not let go of it."""
        self._enter(after, act)

    def sleep(self, seconds: float) -> None:
        """Let time pass. A switch point."""
        me = self.current
        assert me is not None
        if self.over:
            raise Over
        self._enter(seconds, me)
        self._switch(me)

    def park(self) -> None:
        """Let go until somebody wakes this actor."""
        assert self.current is not None
        self._switch(self.current)

    def note(self, what: str) -> None:
        """A step of the run, told to the trace; two runs of the same seed have the same."""
        self.steps += 1
        name = self.current.name if self.current is not None else ""
        self.trace = zlib.crc32(f"{self.now!r} {name} {what}".encode(), self.trace)
        if self.tell is not None:
            self.tell(f"{self.now:.3f} {name} {what}")
        if self.steps > MOST_STEPS:
            raise Circles(f"more than {MOST_STEPS} steps")

    def end(self) -> None:
        """The run is over: every other actor unwinds when its turn comes; the caller goes on to its own end."""
        self.over = True
        waiting = {id(one): one for one in self._actors if one is not self.current and one.thread.is_alive()}
        self._line = [(self.now, 0.0, number, one) for number, one in enumerate(waiting.values())]

    def fail(self, problem: BaseException) -> None:
        """An actor broke; the run ends."""
        self.problem = self.problem or problem
        if not self.over:
            self.end()

    def leave(self) -> None:
        """The actor that has the baton has ended."""
        if self._line:
            self._hand_on()
        else:
            self._ended.set()

    # --- how it is passed ----------------------------------------------------------------------------------------

    def _enter(self, after: float, who: Actor | Callable[[], None]) -> None:
        if self.over:
            return
        self._number += 1
        heapq.heappush(self._line, (self.now + max(0.0, after), self._rng.random(), self._number, who))

    def _next(self) -> Actor:
        """The actor whose turn it is; the clock is set to its time."""
        while True:
            when, _, _, who = heapq.heappop(self._line)
            self.now = max(self.now, when)
            if isinstance(who, Actor):
                return who
            who()

    def _switch(self, me: Actor) -> None:
        if self.over:
            raise Over
        following = self._next()
        if following is not me:
            self.current = following
            following.turn.release()
            me.turn.acquire()
        if self.over:
            raise Over

    def _hand_on(self) -> None:
        self.current = self._next()
        self.current.turn.release()
