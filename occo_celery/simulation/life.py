"""One incarnation of a process: it passes switch points, where it may die or stall, and stays dead once it is."""

from __future__ import annotations

import random

from occo_celery.simulation import baton, faults

#: Seconds that pass at a switch point: mostly next to nothing, sometimes a little, rarely a lot.
DELAYS = ((0.55, 0.0), (0.9, 0.02), (0.99, 0.5), (1.0, 4.0))


class Death(BaseException):
    """The process is gone. Not an Exception, so that nobody's handler mistakes it for trouble."""


class Life:
    """All ports of an incarnation ask it. stall: seconds that a stalled process is away, at most twice that."""

    def __init__(
        self, name: str, the_baton: baton.Baton, trouble: faults.Faults, rng: random.Random, *, stall: float
    ) -> None:
        self.name, self.dead = name, False
        self.checked_at = the_baton.now  # when it last looked into the UDS, in a transaction that may write
        self._baton, self._faults, self._rng, self._stall = the_baton, trouble, rng, stall

    def point(self, what: str) -> None:
        """A switch point: others may run, time may pass, this process may die. Raises Death."""
        self.check()
        self._baton.note(what)
        happens = self._faults.at(what)
        if happens == "death":
            self.dead = True
            raise Death(what)
        if happens == "stall":
            self._baton.note("stalls")
            self._baton.sleep(self._stall * (1 + self._rng.random()))
        else:
            drawn = self._rng.random()
            self._baton.sleep(next(most for share, most in DELAYS if drawn <= share) * self._rng.random())
        self.check()

    def check(self) -> None:
        """A dead process achieves nothing any more, also in its finally blocks."""
        if self.dead:
            raise Death("dead")
