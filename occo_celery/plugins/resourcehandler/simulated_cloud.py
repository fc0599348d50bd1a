"""The simulated cloud itself: its instances, its behaviour and its counters, all of one account in SQL.

Called by the handler (simulated.py) for what a cloud's API does, and by tests, simulation and benchmarks for what
only a cloud's operator can do: set its behaviour, kill an instance, count the calls. Nothing is kept in memory, so
that every process with the same file sees the same cloud and a test may change it while workers run.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pydantic

from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base, simulated_database

Rate = pydantic.Field(default=0.0, ge=0, le=1)
Seconds = pydantic.Field(default=0.0, ge=0)


class Behaviour(pydantic.BaseModel):
    """How an account behaves. Times are seconds; rates are probabilities, drawn anew at each call.

    boot_time: from create to READY. broken_rate: comes up FAILED instead. hang_rate: stays PENDING for ever.
    shutdown_time: from drop until it is gone.
    latency: what a call takes; if that is more than its time-out, a read ends in CloudSilent and a write in
        OutcomeUnknown, and the write is carried out when its latency is over: late, as clouds do.
    stale: how far lists lag behind: they show the account as it was that long ago.
    failure_rate: TransientError, of any call. timeout_rate: a write is carried out, but OutcomeUnknown is raised.
    capacity_failure_rate: CapacityError of a create. quota: CapacityError at that many instances.
    silent: every call raises CloudSilent. throttled: every call raises TransientError with this delay (True: 1 s).
    tokens: False takes idempotency away: creating again makes a second instance.
    strict_tokens: a token that comes again with other parameters is a PermanentError, as in EC2.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    boot_time: float = Seconds
    shutdown_time: float = Seconds
    latency: float = Seconds
    stale: float = Seconds
    throttled: float = Seconds
    failure_rate: float = Rate
    timeout_rate: float = Rate
    capacity_failure_rate: float = Rate
    broken_rate: float = Rate
    hang_rate: float = Rate
    quota: int | None = pydantic.Field(default=None, ge=0)
    silent: bool = False
    tokens: bool = True
    strict_tokens: bool = False


class Instance(NamedTuple):
    """One row of the cloud (a tuple, as a list makes thousands of them). Times are seconds since the epoch, None for
    what has not, or will never, come.

    node_name, image, instance_type, user_data: not told in lists. killed_at: it died on its own. dropped_at: a drop
    was carried out. gone_at: from then on it is not there at all.
    """

    number: int
    instance_id: str
    node_id: str
    infra_id: str
    node_name: str
    image: str
    instance_type: str
    user_data: str | None
    created: float
    ready_at: float | None
    broken: bool
    killed_at: float | None = None
    dropped_at: float | None = None
    gone_at: float | None = None

    @property
    def address(self) -> str:
        """Made of the row's number, out of 10.0.0.0/8. Nothing answers there."""
        return f"10.{self.number >> 16 & 255}.{self.number >> 8 & 255}.{self.number & 255}"

    def seen(self, at: float) -> base.Seen:
        """What the cloud said, or says, of it at a time."""
        state, code, since = self._state(at)
        return base.Seen(
            node_id=self.node_id,
            infra_id=self.infra_id,
            instance_id=self.instance_id,
            state=state,
            reason=status.Reason(code=code, since=since),
            addresses=(self.address,),
        )

    def _state(self, at: float) -> tuple[status.NodeStatus, str, float]:
        """State, reason code and since when. The end counts before the beginning."""
        if self.dropped_at is not None and self.dropped_at <= at:
            gone = self.gone_at is not None and self.gone_at <= at
            return status.NodeStatus.SHUTDOWN, "terminated" if gone else "shutting_down", self.dropped_at
        if self.killed_at is not None and self.killed_at <= at:
            return status.NodeStatus.FAILED, "killed", self.killed_at
        if self.ready_at is None or at < self.ready_at:
            return status.NodeStatus.PENDING, "booting", self.created
        if self.broken:
            return status.NodeStatus.FAILED, "boot_failed", self.ready_at
        return status.NodeStatus.READY, "running", self.ready_at


#: Instances in one page of the list; each page is a call.
PAGE = 1000
COLUMNS = ", ".join(Instance._fields)
SELECT = f"SELECT {COLUMNS} FROM instances WHERE endpoint = ?"  # noqa: S608  # column names of ours only
LIST = SELECT.replace("node_name, image, instance_type, user_data", "'', '', '', NULL")  # which lists do not tell
LISTED = "created <= ? AND (gone_at IS NULL OR gone_at > ?) ORDER BY number"


class SimulatedCloud:
    """One account of the cloud in one file. Cheap to make; safe to use from many threads and after a fork."""

    def __init__(
        self, path: str | os.PathLike[str], endpoint: str = "default", *, clock: Callable[[], float] = time.time
    ) -> None:
        self.endpoint = endpoint
        self._database = simulated_database.Database(path)
        self._clock = clock

    # --- what an operator (a test, a benchmark) does ------------------------------------------------

    def set(self, **behaviour: Any) -> None:
        """Change these keys of Behaviour for all processes, at once. They win over the configuration."""
        valid = Behaviour.model_validate(behaviour).model_dump()
        with self.transaction():
            for key in behaviour:
                self._database.change(
                    "INSERT OR REPLACE INTO behaviour VALUES (?, ?, ?)", (self.endpoint, key, json.dumps(valid[key]))
                )

    def behaviour(self, configured: Mapping[str, Any] | None = None) -> Behaviour:
        """The behaviour now: what was set here, else what is configured, else the default."""
        rows = self._database.query("SELECT key, value FROM behaviour WHERE endpoint = ?", (self.endpoint,))
        return Behaviour.model_validate({**(configured or {}), **{key: json.loads(value) for key, value in rows}})

    def instances(
        self, node_id: str | None = None, infra_id: str | None = None, alive: bool = True
    ) -> list[Instance]:
        """The truth, oldest first, never stale. alive: only what is there and neither killed nor being dropped."""
        where, parameters = SELECT, [self.endpoint]
        for column, value in (("node_id", node_id), ("infra_id", infra_id)):
            if value is not None:
                where += f" AND {column} = ?"
                parameters.append(value)
        found = self._instances(where + " ORDER BY number", parameters)
        now = self._clock()
        return [each for each in found if not alive or _alive(each, now)]

    def kill(self, node_id: str, *, listed: bool = False) -> None:
        """The node's live instances die without anybody being told: they vanish or, if listed, show as FAILED
        until dropped. LookupError if there is none."""
        now = self._clock()
        changed = self._database.change(
            "UPDATE instances SET killed_at = ?, gone_at = coalesce(?, gone_at)"
            " WHERE endpoint = ? AND node_id = ? AND created <= ?"
            " AND killed_at IS NULL AND (dropped_at IS NULL OR dropped_at > ?)",
            (now, None if listed else now, self.endpoint, node_id, now, now),
        )
        if not changed:
            raise LookupError(f"the simulated cloud has no live instance of node {node_id}")

    def calls(self) -> dict[str, int]:
        """How many API calls of each kind (create, observe, drop, sweep, logs) were made so far, refused ones too."""
        return dict(self._database.query("SELECT kind, count FROM calls WHERE endpoint = ?", (self.endpoint,)))

    # --- what its API does, for the handler ---------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """What follows is all or nothing, and nobody else changes the cloud meanwhile."""
        return self._database.transaction()

    def count(self, kind: str) -> None:
        """A call has come in."""
        self._database.change(
            "INSERT INTO calls VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", (self.endpoint, kind)
        )

    def of_token(self, node_id: str) -> Instance | None:
        """The first instance that was made with this token, gone or not."""
        found = self._instances(f"{SELECT} AND node_id = ? ORDER BY number LIMIT 1", (self.endpoint, node_id))
        return found[0] if found else None

    def with_id(self, instance_id: str) -> Instance | None:
        """The instance of this id, gone or not."""
        found = self._instances(f"{SELECT} AND instance_id = ?", (self.endpoint, instance_id))
        return found[0] if found else None

    def used(self, now: float) -> int:
        """How many instances count against the quota: all that are not gone, those coming and going too."""
        sql = "SELECT count(*) FROM instances WHERE endpoint = ? AND (gone_at IS NULL OR gone_at > ?)"
        count: int = self._database.query(sql, (self.endpoint, now))[0][0]
        return count

    def insert(
        self,
        creation: base.Creation,
        *,
        image: str,
        instance_type: str,
        created: float,
        boots: float | None,
        broken: bool,
    ) -> Instance:
        """Make an instance, within `transaction`. boots: seconds until it is up, None if it hangs."""
        number = self._database.query("SELECT coalesce(max(number), 0) + 1 FROM instances")[0][0]
        # not the bare number: when the file is removed, old records must not point at new instances
        digest = hashlib.sha256(f"{number} {creation.node_id} {created}".encode()).hexdigest()
        instance = Instance(
            number=number,
            instance_id=f"i-{digest[:17]}",
            node_id=creation.node_id,
            infra_id=creation.infra_id,
            node_name=creation.node_name,
            image=image,
            instance_type=instance_type,
            user_data=creation.user_data,
            created=created,
            ready_at=None if boots is None else created + boots,
            broken=broken,
        )
        self._database.change(
            f"INSERT INTO instances (endpoint, {COLUMNS}) VALUES (?{', ?' * len(instance)})",  # noqa: S608
            (self.endpoint, *instance),
        )
        return instance

    def end(self, instance_id: str, *, dropped_at: float, gone_at: float) -> None:
        """Drop an instance; nothing happens to one that is unknown, gone or going by then."""
        self._database.change(
            "UPDATE instances SET dropped_at = ?, gone_at = ? WHERE endpoint = ? AND instance_id = ?"
            " AND (dropped_at IS NULL OR dropped_at > ?) AND (gone_at IS NULL OR gone_at > ?)",
            (dropped_at, gone_at, self.endpoint, instance_id, dropped_at, dropped_at),
        )

    def listed_nodes(self, node_ids: Sequence[str], at: float) -> list[Instance]:
        """What was there at a time under these node_ids: one statement however many they are."""
        return self._instances(
            f"{LIST} AND node_id IN (SELECT value FROM json_each(?)) AND {LISTED}",  # noqa: S608
            (self.endpoint, json.dumps(list(node_ids)), at, at),
        )

    def listed_infra(self, infra_id: str | None, at: float) -> list[Instance]:
        """What was there at a time under the tag of this infrastructure; None: of any."""
        if infra_id is None:
            return self._instances(f"{LIST} AND {LISTED}", (self.endpoint, at, at))
        return self._instances(f"{LIST} AND infra_id = ? AND {LISTED}", (self.endpoint, infra_id, at, at))

    def _instances(self, sql: str, parameters: Sequence[Any]) -> list[Instance]:
        return [Instance._make(row) for row in self._database.query(sql, parameters)]


def _alive(instance: Instance, now: float) -> bool:
    """There, and nobody has ended it. (A drop or death that lies in the future has not happened.)"""
    ends = (instance.killed_at, instance.dropped_at)
    return instance.created <= now and not any(end is not None and end <= now for end in ends)
