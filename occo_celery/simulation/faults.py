"""Every kind of trouble by name, how often it comes in a run, and how often it came. Drawn by ports and weather."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

#: What touches the outside, and how much more often than usual trouble comes where calls are rare.
PORTS: Mapping[str, float] = {
    "transaction": 1.0,
    "read": 0.5,
    "send": 2.0,
    "create": 8.0,
    "observe": 2.0,
    "drop": 5.0,
    "sweep": 30.0,
}
#: The switch points: a process may die or stall at each.
#: On PostgreSQL there is one more: ``before statement``.
POINTS = tuple(f"{side} {port}" for port in PORTS for side in ("before", "after"))

#: Of one call, message or transaction: the usual probability.
CHANCES: Mapping[str, float] = {
    **{f"death {side} {port}": 0.002 * often for port, often in PORTS.items() for side in ("before", "after")},
    **{f"stall {side} {port}": 0.002 * often for port, often in PORTS.items() for side in ("before", "after")},
    "message lost": 0.02,
    "message doubled": 0.02,
    "message delayed": 0.02,
    "message redelivered": 0.5,  # of those whose worker died
    "message published, an error seen": 0.02,
    "broker refuses": 0.01,
    "call fails": 0.04,
    "call times out, was carried out": 0.1,  # of writes
    "call carried out late": 0.05,
    "call throttled": 0.02,
    "no capacity": 0.05,
    "list stale": 0.1,
    "instance hangs in pending": 0.04,
    "instance comes up broken": 0.04,
    "transaction refused": 0.01,
    "commit whose answer is lost": 0.004,
    "what may be lost is lost": 0.01,
}

#: Of the whole installation: the usual number an hour.
WEATHER: Mapping[str, float] = {
    "account silent": 6.0,
    "database gone": 4.0,
    "broker gone": 4.0,
    "beats stopped": 4.0,
    "beat doubled": 4.0,
    "instance vanishes": 20.0,
    "instance dies, is listed": 20.0,
}

#: Seconds by which the clock of each process is before or behind that of the clouds, at most.
SKEW = 0.4

#: Seen, not drawn: what comes of random delays.
SEEN = ("message reordered",)

#: Every kind that must come in a set of runs.
KINDS = (*CHANCES, *WEATHER, *SEEN)


class Faults:
    """The trouble of one run: some runs are quiet, some are hell, each with its own mixture."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self.on = rng, True
        self.counts: Counter[str] = Counter()
        intensity = rng.choice((0.1, 0.5, 1.0, 1.0, 2.0, 4.0))
        self._chances = {kind: min(0.7, rate * intensity * self._share()) for kind, rate in CHANCES.items()}
        self._weather = {kind: rate * intensity * self._share() for kind, rate in WEATHER.items()}
        self._at = {point: (self._chances[f"death {point}"], self._chances[f"stall {point}"]) for point in POINTS}

    def _share(self) -> float:
        return self._rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))

    def happens(self, kind: str) -> bool:
        """Draw: does it happen now? Counted if it does."""
        if not self.on or self._rng.random() >= self._chances[kind]:
            return False
        self.counts[kind] += 1
        return True

    def at(self, point: str) -> str | None:
        """``death``, ``stall`` or nothing, at a switch point."""
        if not self.on:
            return None
        death, stall = self._at.get(point, (0.0, 0.0))
        drawn = self._rng.random()
        if drawn >= death + stall:
            return None
        kind = "death" if drawn < death else "stall"
        self.counts[f"{kind} {point}"] += 1
        return kind

    def weather(self) -> tuple[float, str]:
        """The next trouble of the whole installation, and in how many seconds it comes."""
        total = sum(self._weather.values())
        if total == 0:
            return 1e9, "nothing"
        kinds, weights = zip(*self._weather.items(), strict=True)
        return self._rng.expovariate(total / 3600), self._rng.choices(kinds, weights)[0]
