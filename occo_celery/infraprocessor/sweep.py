"""Looks through whole cloud accounts for instances that bear a tag of ours and that nobody knows.

`occo doctor` only looks. The task sweep-account, which beat sends at intervals, looks twice and has what it saw both
times dropped. The list is taken before SQL is read: whatever was made before it, is on the books by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from occo_celery.model import instance, status
from occo_celery.plugins.resourcehandler import base
from occo_celery.plugins.resourcehandler import clouds as accounts
from occo_celery.uds import inventory, operations
from occo_celery.uds.store import Store


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


class Sweeper:
    """Looks through accounts. All that it needs is handed in: see wiring.py. call_timeout: of a call, seconds."""

    def __init__(
        self, *, store: Store, clouds: accounts.Clouds, now: Callable[[], float], call_timeout: float
    ) -> None:
        self._store, self._clouds, self._now, self._call_timeout = store, clouds, now, call_timeout

    def look(self, account: str, implementation: Mapping[str, Any]) -> Look:
        """Look through one account; changes nothing. Raises ResourceError, PluginError, StoreError."""
        section = implementation["resource"]
        listed = self._clouds.handler(account, section).sweep(None, self._call_timeout)
        with self._store.read() as connection:
            books = inventory.books(connection, {one.infra_id for one in listed}, {one.node_id for one in listed})
        return judge(listed, books, account, archived_before=self._now() - self.grace(section))

    def grace(self, section: Mapping[str, Any]) -> float:
        """Seconds for which a list of this cloud may show what is not there any more, or not show what is."""
        traits = self._clouds.traits(section)
        return traits.settle + traits.absence_grace
