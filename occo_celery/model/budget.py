"""What a cloud account may be asked for, by all workers together. Pure.

The rate is kept as a generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): one time says all, that until
which calls are spent.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

#: One in so many of what there is, and at least one of two or more, is kept for urgent work: drops, and the
#: replacement of what was lost.
RESERVE = 5
#: Seconds that a call is expected to take: what waits for others to end is tried again after that.
CALL = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """accounts: names, `*` for any characters. concurrency: instructions at work at a time; rate: begun in a second;
    burst: begun at once after a rest. None: no limit."""

    accounts: str
    concurrency: int | None = None
    rate: float | None = None
    burst: int = 1

    def is_of(self, account: str) -> bool:
        return fnmatch.fnmatchcase(account, self.accounts)


def of(account: str, budgets: Iterable[Budget]) -> Budget | None:
    """The first that is for an account."""
    return next((one for one in budgets if one.is_of(account)), None)


@dataclass(slots=True)
class Spending:
    """What is spent of a budget: at_work instructions, and calls until a time (seconds since the epoch).

    refused: how many of those asked so far. ahead: those of them that are urgent; others do not lengthen their wait.
    """

    budget: Budget
    at_work: int
    spent_until: float
    refused: int = 0
    ahead: int = 0

    def spend(self, now: float, *, urgent: bool) -> float | None:
        """One more instruction. None if it may begin, else when to ask again, seconds since the epoch."""
        again = max(self._work_ends(now, urgent), self._rate_allows(now, urgent))
        if again > now:
            self.refused += 1
            self.ahead += urgent
            return again
        self.at_work += 1
        if self.budget.rate is not None:
            self.spent_until = max(self.spent_until, now) + 1.0 / self.budget.rate
        return None

    def _work_ends(self, now: float, urgent: bool) -> float:
        limit = self.budget.concurrency
        if limit is None or self.at_work < _kept_free(limit, urgent):
            return now
        return now + CALL * (1 + self._before(urgent) // limit)

    def _rate_allows(self, now: float, urgent: bool) -> float:
        rate = self.budget.rate
        if rate is None:
            return now
        allowed = self.spent_until - (_kept_free(self.budget.burst, urgent) - 1) / rate
        return now if allowed <= now else allowed + self._before(urgent) / rate

    def _before(self, urgent: bool) -> int:
        """How many were refused already that go first."""
        return self.ahead if urgent else self.refused


def _kept_free(limit: int, urgent: bool) -> int:
    """How much of a limit a kind of work may use; at least one."""
    return limit if urgent else max(1, limit - max(1, limit // RESERVE))
