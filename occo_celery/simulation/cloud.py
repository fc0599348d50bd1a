"""The simulated cloud of a run: the handlers of that name on accounts in memory, each call with trouble of its own.

With tokens as EC2 has them, or without as Nova. The truth about every instance is asked here by invariants.py.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from occo_celery.plugins.resourcehandler import base, simulated, simulated_cloud, simulated_database
from occo_celery.simulation import baton, faults

#: Seconds: how far lists lag at most, and by how much a call is carried out later than its caller waits, at most.
STALE = 6.0
LATE = 6.0
#: After this a hanging instance is given up, seconds (``create_timeout`` of the definitions).
CREATE_TIMEOUT = 120.0


class Tokens(simulated.SimulatedHandler):
    """settle covers lateness and lag, absence_grace the lag."""

    traits = base.Traits(idempotent=True, settle=STALE + LATE + 1, absence_grace=STALE + 1)


class NoTokens(simulated.SimulatedWithoutTokens):
    traits = base.Traits(idempotent=False, settle=STALE + LATE + 1, absence_grace=STALE + 1)


HANDLERS: Mapping[str, type[base.ResourceHandler]] = {"simulated": Tokens, "simulated_no_tokens": NoTokens}


class _Memory(simulated_database.Database):
    """The cloud's tables in memory, on one connection for all actors."""

    def __init__(self) -> None:
        self.path = Path(":memory:")
        self._one = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in simulated_database.SCHEMA:
            self._one.execute(statement)

    def _connection(self) -> sqlite3.Connection:
        return self._one


def _behaviour(**values: Any) -> simulated_cloud.Behaviour:
    return simulated_cloud.Behaviour(**{"boot_time": 8.0, "shutdown_time": 3.0, **values})


_USUAL = _behaviour()
_SILENT = _behaviour(silent=True)
#: What a call may meet, by kind of trouble.
_TROUBLE = {
    "call fails": _behaviour(failure_rate=1.0),
    "call throttled": _behaviour(throttled=3.0),
    "no capacity": _behaviour(capacity_failure_rate=1.0),
    "call times out, was carried out": _behaviour(timeout_rate=1.0),
}
_ANY = ("call fails", "call throttled")
_OF_CREATE = (*_ANY, "no capacity", "call times out, was carried out", "call carried out late")
_OF_DROP = (*_ANY, "call times out, was carried out", "call carried out late")


class Account(simulated_cloud.SimulatedCloud):
    """One account. made: told of every new instance, when the cloud takes the call."""

    def __init__(
        self,
        endpoint: str,
        the_baton: baton.Baton,
        trouble: faults.Faults,
        rng: random.Random,
        *,
        call_timeout: float,
        made: Callable[[Account, simulated_cloud.Instance], None],
    ) -> None:
        self.endpoint, self.silent_until = endpoint, 0.0
        self._database, self._clock = _Memory(), the_baton.time
        self._baton, self._faults, self._rng = the_baton, trouble, rng
        self._call_timeout, self._made = call_timeout, made
        self._arrived = ""

    def count(self, kind: str) -> None:
        self._arrived = kind
        self._baton.note(f"{kind} arrives")

    def behaviour(self, configured: Mapping[str, Any] | None = None) -> simulated_cloud.Behaviour:
        """What the call that has just arrived meets."""
        if self.silent_until > self._baton.now:
            return _SILENT
        kinds = {"create": _OF_CREATE, "drop": _OF_DROP}.get(self._arrived, _ANY)
        for kind in kinds:
            if self._faults.happens(kind):
                late = self._rng.random() * LATE
                return _TROUBLE.get(kind) or _behaviour(latency=self._call_timeout + late)
        if self._arrived in ("observe", "sweep") and self._faults.happens("list stale"):
            return _behaviour(stale=self._rng.random() * STALE)
        return _USUAL

    def insert(self, creation: base.Creation, **how: Any) -> simulated_cloud.Instance:
        if self._faults.happens("instance hangs in pending"):
            how["boots"] = None
        how["broken"] = self._faults.happens("instance comes up broken")
        instance = super().insert(creation, **how)
        self._made(self, instance)
        return instance

    def died(self, instance_id: str) -> bool:
        """The truth: it ended on its own."""
        one = self.with_id(instance_id)
        return one is not None and one.killed_at is not None

    def healthy(self, instance_id: str) -> bool:
        """The truth: it is there, and nothing is wrong with it."""
        one, now = self.with_id(instance_id), self._baton.now
        if one is None or one.dropped_at is not None or one.killed_at is not None:
            return False
        # Whoever made it and whoever finds that it takes too long go by clocks of their own.
        in_time = now - one.created < CREATE_TIMEOUT - 2 * faults.SKEW
        return not one.broken and (one.ready_at is not None or in_time)
