"""Looks through whole cloud accounts for instances that bear a tag of ours and that nobody knows.

`occo doctor` only looks. The task sweep-account, which beat sends at intervals, looks twice and has what it saw both
times dropped. The list is taken before SQL is read: whatever was made before it, is on the books by then.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from occo_celery import errors
from occo_celery.infraprocessor import strays
from occo_celery.model import instance, status
from occo_celery.model.message import Send
from occo_celery.plugins.resourcehandler import base
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import accounts as rows
from occo_celery.uds import infrastructures, inventory, operations
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)

#: At least so many seconds lie between the two looks after which an orphan is dropped.
LEAST_GRACE = 5.0
#: An account that did not answer is looked through again after this time, seconds, or an interval if that is less.
RETRY = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An instance of an infrastructure of ours that the UDS does not know. node_name: empty where nobody knows."""

    account: str
    infra_id: str
    node_id: str
    node_name: str
    instance_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look through an account found. known: instances on the books, or on their way there or out;
    foreign: of infrastructures that are somebody else's, never touched."""

    orphans: tuple[Orphan, ...]
    known: int
    foreign: int


def judge(listed: Collection[base.Seen], books: inventory.Books, account: str, *, archived_before: float) -> Look:
    """Which of the listed instances are orphans. archived_before: what was archived later may only be listed
    because the list lags behind."""
    orphans, known, foreign = [], 0, 0
    for seen in listed:
        if seen.infra_id not in books.infra_ids:
            foreign += 1
        elif _is_known(seen, books, archived_before):
            known += 1
        else:
            node = books.nodes.get(seen.node_id) or books.archived.get(seen.node_id)
            orphans.append(
                Orphan(
                    account=account,
                    infra_id=seen.infra_id,
                    node_id=seen.node_id,
                    node_name=node.node_name if node is not None else "",
                    instance_id=seen.instance_id,
                    state=seen.state.value,
                )
            )
    return Look(orphans=tuple(orphans), known=known, foreign=foreign)


def _is_known(seen: base.Seen, books: inventory.Books, archived_before: float) -> bool:
    if seen.state is status.NodeStatus.SHUTDOWN:
        return True  # on its way out
    if operations.stray_target(seen.instance_id, seen.node_id) in books.strays:
        return True  # being dropped
    node, archived = books.nodes.get(seen.node_id), books.archived.get(seen.node_id)
    if node is not None:
        # Somebody is at one that is being made or dropped, and finds all that bears its tag.
        return node.lifecycle is not instance.Lifecycle.RUNNING or node.instance_id == seen.instance_id
    return archived is not None and archived.archived_at > archived_before


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. call: time-out of a cloud call; interval: from one sweep of an account to the next; resend: after
    which beat sends a drop whose message was lost."""

    call: float
    interval: float
    resend: float


class Sweeper:
    """Looks through accounts, and has dropped what was seen twice. All that it needs is handed in: see wiring.py."""

    def __init__(
        self, *, store: Store, clouds: accounts.Clouds, send: Send, now: Callable[[], float], timing: Timing
    ) -> None:
        self._store, self._clouds, self._send, self._now, self._timing = store, clouds, send, now, timing

    def look(self, account: str, implementation: Mapping[str, Any]) -> Look:
        """Look through one account; changes nothing. Raises ResourceError, PluginError, StoreError."""
        section, asked = implementation["resource"], self._now()
        listed = self._clouds.handler(account, section).sweep(None, self._timing.call)
        with self._store.read() as connection:
            books = inventory.books(connection, {one.infra_id for one in listed}, {one.node_id for one in listed})
        return judge(listed, books, account, archived_before=asked - self._grace(section))

    def _grace(self, section: Mapping[str, Any]) -> float:
        """Seconds for which a list of this cloud may show what is not there any more, or not show what is."""
        traits = self._clouds.traits(section)
        return traits.settle + traits.absence_grace

    def sweep(self, account: str) -> None:
        """Look through one account. What is an orphan for the first time is kept in mind, and looked for again once
        the cloud has settled; what is one then, too, is dropped. Run twice or too soon, it only looks."""
        with self._store.read() as connection:
            row = rows.get(connection, account)
        if row is None or row.implementation is None:
            return
        began = self._now()
        try:
            look = self.look(account, row.implementation)
        except (errors.ResourceError, errors.PluginError, errors.ConfigurationError) as problem:
            log.warning("account %s could not be looked through: %s", account, problem)
            self._end(account, row.suspects, due=began + min(RETRY, self._timing.interval))
            return
        seen_at, grace = self._now(), max(LEAST_GRACE, self._grace(row.implementation["resource"]))
        since = {_target(one): row.suspects.get(_target(one), seen_at) for one in look.orphans}
        # From the answer to the first look until the question of this one.
        confirmed = [one for one in look.orphans if began - since[_target(one)] >= grace]
        intents = self._intend(confirmed, row.implementation)
        suspects = {target: when for target, when in since.items() if target not in map(_target, confirmed)}
        due = min((when + grace for when in suspects.values()), default=began + self._timing.interval)
        self._end(account, suspects, due=due)
        self._send_all(intents)

    def _end(self, account: str, suspects: Mapping[str, float], *, due: float) -> None:
        with self._store.write() as connection:
            rows.swept(connection, account, suspects=suspects, due=due)

    def _intend(self, orphans: Sequence[Orphan], implementation: Mapping[str, Any]) -> list[instance.Operation]:
        """Record a drop for each, as for any stray: it is tried until the cloud does not list it any more."""
        intents = []
        by_infra = sorted(orphans, key=lambda one: one.infra_id)
        for infra_id, some in itertools.groupby(by_infra, key=lambda one: one.infra_id):
            with self._store.write() as connection:
                infra = infrastructures.lock(connection, infra_id)  # first, as everybody does: no deadlocks
                for one in some:
                    log.warning("account %s: dropping %s, which is on no books", one.account, one.instance_id)
                    intent = strays.intend(
                        connection,
                        infra,
                        account=one.account,
                        implementation=implementation,
                        instance_id=one.instance_id,
                        node_id=one.node_id,
                        node_name=one.node_name,
                        now=self._now(),
                        resend=self._timing.resend,
                    )
                    intents += [] if intent is None else [intent]
        return intents

    def _send_all(self, intents: Sequence[instance.Operation]) -> None:
        try:
            if intents:
                self._send.operations(intents)
        except errors.BrokerUnavailable as problem:
            log.warning("%s; beat will send what was recorded", problem)


def _target(one: Orphan) -> str:
    return operations.stray_target(one.instance_id, one.node_id)
