"""The end of an infrastructure: a chain of links that each act, look, and say whether they are done.

The truth is the teardown's operation row: its token says which chain may act, its stage how far it is, its due time
when beat takes the chain for dead and starts another from that stage on. The stages are one drop-level for each level
of the description, dependents first, then the sweep, then the finish. Called by the tasks of those names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.infraprocessor import strays
from occo_celery.infraprocessor.hearing import Hearing
from occo_celery.model import description, instance, status
from occo_celery.model.message import Chain, Send
from occo_celery.uds import accounts, events, infrastructures, inventory, nodes, operations, requests, rows, schedule
from occo_celery.uds.store import Store

if TYPE_CHECKING:  # beat resumes chains, and needs no plugin for it
    from occo_celery.plugins.configmanager import base as configmanager
    from occo_celery.plugins.resourcehandler import base
    from occo_celery.plugins.resourcehandler import clouds as handlers

log = logging.getLogger(__name__)


#: A link that is not done is called again after this many seconds, half as much more each time, at most ``resend``.
FIRST_RETRY = 0.2


def again_after(retries: int, resend: float) -> float:
    """Seconds until a link that is not done is called again, after so many times."""
    return float(min(resend, FIRST_RETRY * 1.5 ** min(retries, 30)))


def heartbeat(resend: float) -> float:
    """Seconds without a sign of life after which beat starts a chain anew; links that are not done are called again
    within ``resend``."""
    return 3 * resend


def begin(
    connection: sa.Connection,
    infra_id: str,
    desired: description.StaticDescription,
    *,
    now: float,
    token: str,
    resend: float,
) -> Chain | None:
    """Ask for the end of an infrastructure; the chain is to be sent after the commit, None if one is under way.

    The caller has locked the infrastructure's row.
    """
    if operations.get(connection, infra_id) is not None:
        return None
    infrastructures.change(
        connection, infra_id, phase=instance.Phase.TEARING_DOWN.value, ready_since=None, suspended=False
    )
    requests.clear(connection, infra_id)
    intent = operations.intent(
        target=infra_id,
        infra_id=infra_id,
        kind=instance.OperationKind.TEARDOWN,
        node_name=desired.name,
        epoch=0,
        now=now,
        resend=heartbeat(resend),
        token=token,
        begun=True,
    )
    operations.insert(connection, [intent])
    events.add(connection, infra_id, "infradrop", now=now, name=desired.name)
    return Chain(infra_id=infra_id, token=token, stage=0, levels=_levels(desired), name=desired.name)


def resume(
    connection: sa.Connection, operation: instance.Operation, desired: description.StaticDescription, *, token: str
) -> Chain:
    """Start an overdue teardown anew from its stage on; links of the earlier chain find their token gone."""
    operations.retoken(connection, operation.target, token)
    return Chain(
        infra_id=operation.infra_id,
        token=token,
        stage=operation.stage,
        levels=_levels(desired),
        name=operation.node_name,
    )


def _levels(desired: description.StaticDescription) -> int:
    """At least one, for instances of nodes that the description does not have any more."""
    return max(1, len(desired.topological_order))


def _level_of(desired: description.StaticDescription) -> Callable[[str], int]:
    """Level 0 is dropped first: what nothing depends on, and what the description does not have any more."""
    levels = {name: level for level, some in enumerate(reversed(desired.topological_order)) for name in some}
    return lambda name: levels.get(name, 0)


class Teardown:
    """The links. Each returns True when its stage is done (or not its to do), False to be called again soon."""

    def __init__(
        self,
        *,
        store: Store,
        clouds: handlers.Clouds,
        manager: Callable[[Mapping[str, Any]], configmanager.ConfigManager],
        hearing: Hearing,
        send: Send,
        now: Callable[[], float],
        resend: float,
        call_timeout: float,
    ) -> None:
        self._store, self._clouds, self._manager, self._send = store, clouds, manager, send
        self._hearing = hearing
        self._now, self._resend, self._call_timeout = now, resend, call_timeout
        self._descriptions = infrastructures.Descriptions()

    def drop_level(self, infra_id: str, token: str, level: int) -> bool:
        """Ask for the end of every instance of a level; done when all are archived."""
        with self._store.write() as connection:
            infra = infrastructures.lock(connection, infra_id)  # first, as everybody does: no deadlocks
            operation = self._mine(connection, infra_id, token, level)
            if operation is None:
                return True
            desired = self._descriptions.one(connection, infra)
            level_of = _level_of(desired)
            left = [one for one in nodes.of(connection, infra_id) if level_of(one.node_name) == level]
            intents = [intent for one in left if (intent := self._intend(connection, one)) is not None]
            if not left:
                operations.held(connection, infra_id, token, stage=level + 1)
        self._send_all(intents)
        return not left

    def _intend(self, connection: sa.Connection, node: instance.Instance) -> instance.Operation | None:
        if node.lifecycle is instance.Lifecycle.DROPPING:
            return None
        if not nodes.move(connection, node.node_id, node.lifecycle, instance.Lifecycle.DROPPING):
            return None
        now = self._now()
        operations.turn_into_drop(connection, node, epoch=0, now=now, resend=self._resend)
        events.add(connection, node.infra_id, "nodedropping", now=now, node_id=node.node_id, node=node.node_name)
        return instance.Operation(
            target=node.node_id,
            infra_id=node.infra_id,
            kind=instance.OperationKind.DROP,
            attach_epoch=0,
            node_name=node.node_name,
        )

    def sweep(self, infra_id: str, token: str, stage: int) -> bool:
        """Look through every account that the infrastructure was on for anything that bears its tag, and have it
        dropped.

        Every drop before it has waited until no creation can come true any more (guard 11), so what is not found
        now will not appear.
        """
        with self._store.write() as connection:
            if self._mine(connection, infra_id, token, stage) is None:
                return True
            known = nodes.accounts_of(connection, infra_id)
            busy = [one for one in operations.of(connection, infra_id) if one.target != infra_id]
            quiet = accounts.quiet(connection, known.keys(), now=self._now())
        self._hearing.suspect(quiet.keys())
        found: dict[str, Sequence[base.Seen]] = {}
        unseen: dict[str, str] = {}
        for name, implementation in known.items():
            if quiet.get(name):
                unseen[name] = "it did not answer lately"
                continue
            try:
                found[name] = self._list(name, implementation, infra_id)
            except errors.ResourceError as problem:
                log.warning("sweep of %s: account %s: %s", infra_id, name, problem)
                unseen[name] = str(problem)
        left = {name: some for name, some in found.items() if some}
        if left or busy or unseen:
            self._send_all(self._intend_strays(infra_id, token, left, known, unseen))
            return False
        return self._advance(infra_id, token, stage)

    def _list(self, account: str, implementation: Mapping[str, Any], infra_id: str) -> Sequence[base.Seen]:
        with self._hearing.call(account):
            return self._clouds.handler(account, implementation["resource"]).sweep(infra_id, self._call_timeout)

    def _intend_strays(
        self,
        infra_id: str,
        token: str,
        left: Mapping[str, Sequence[base.Seen]],
        known: Mapping[str, Mapping[str, Any]],
        unseen: Mapping[str, str],
    ) -> Sequence[instance.Operation]:
        """Record a drop of each that was left over, and which accounts did not tell."""
        now, intents = self._now(), []
        with self._store.write() as connection:
            infra = infrastructures.lock(connection, infra_id)  # first, as everybody does: no deadlocks
            there = [(account, one) for account, some in left.items() for one in some]
            archived = inventory.books(connection, (), [one.node_id for _, one in there]).archived
            for account, one in there:
                intent = strays.intend(
                    connection,
                    infra,
                    account=account,
                    implementation=known[account],
                    instance_id=one.instance_id,
                    node_id=one.node_id,
                    node_name=archived[one.node_id].node_name if one.node_id in archived else "",
                    now=now,
                    resend=self._resend,
                )
                if intent is not None:
                    log.warning("sweep of %s: dropping %s, which was left over", infra_id, one.instance_id)
                    intents.append(intent)
            detail = "; ".join(f"{account}: {why}" for account, why in sorted(unseen.items()))
            reason = status.Reason(code="sweep_failed", arguments={"detail": detail}, since=now)
            said = rows.reason_columns(reason) if unseen else {"reason_code": None}
            operations.held(connection, infra_id, token, **said)
        return intents

    def finish(self, infra_id: str, token: str, stage: int) -> bool:
        """Drop the infrastructure's environments and close the books."""
        with self._store.write() as connection:
            if self._mine(connection, infra_id, token, stage) is None:
                return True
            known = nodes.accounts_of(connection, infra_id)
        try:
            for implementation in known.values():
                section = implementation.get("config_management") or {"type": "dummy"}
                self._manager(section).drop_infrastructure(infra_id, self._call_timeout)
        except errors.ResourceError as problem:
            log.warning("finish of %s: %s", infra_id, problem)
            return False
        with self._store.write() as connection:
            infrastructures.lock(connection, infra_id)
            if operations.end(connection, [infra_id], token):
                now = self._now()
                infrastructures.change(connection, infra_id, phase=instance.Phase.TORN_DOWN.value)
                schedule.delete(connection, infra_id)
                events.add(connection, infra_id, "infradropped", now=now)
        return True

    def _mine(self, connection: sa.Connection, infra_id: str, token: str, stage: int) -> instance.Operation | None:
        """The operation if this link is the one to act: the chain is the current one and this stage is not over."""
        operation = operations.get(connection, infra_id)
        if operation is None or operation.token != token or operation.stage != stage:
            return None
        operations.held(connection, infra_id, token, due=self._now() + heartbeat(self._resend))
        return operation

    def _advance(self, infra_id: str, token: str, stage: int) -> bool:
        with self._store.write() as connection:
            operations.held(connection, infra_id, token, stage=stage + 1, reason_code=None)
        return True

    def _send_all(self, intents: Sequence[instance.Operation]) -> None:
        if not intents:
            return
        try:
            self._send.operations(intents)
        except errors.BrokerUnavailable as problem:
            log.warning("%s; beat will send what was recorded", problem)
