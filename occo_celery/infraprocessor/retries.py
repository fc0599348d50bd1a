"""When to try again: exponential backoff with jitter, or later where the cloud asked for it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from occo_celery import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """first, longest: seconds. The n-th failure waits first x 2^(n-1), at most longest, less up to half of it."""

    first: float
    longest: float
    rng: random.Random

    def after(self, attempts: int, now: float, problem: Exception | None = None) -> float:
        """The time (seconds since the epoch) of the next attempt, after so many."""
        wait = min(self.longest, self.first * 2.0 ** min(attempts - 1, 30))
        asked = getattr(problem, "delay", None) if isinstance(problem, errors.TransientError) else None
        return now + max(wait * (0.5 + self.rng.random() / 2), asked or 0.0)
