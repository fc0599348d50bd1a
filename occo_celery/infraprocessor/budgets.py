"""Holds instructions back whose cloud account does not answer, or whose budget is spent: they are given back with a
time.

Called by claims.py, in its transaction. Nobody sleeps: beat sends what is held back when its time has come.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from occo_celery.model import budget, instance, status
from occo_celery.uds import accounts, nodes, operations

#: Seconds after the loss of an instance during which creations of its node count as its replacement.
HEALING = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An operation that would begin now. account: where it leads, None if nowhere; node: the instance that is to be
    made, which says what it waits for (None for drops: they keep why the instance is to go)."""

    operation: instance.Operation
    account: str | None
    node: instance.Instance | None = None


Some = TypeVar("Some", bound=Wish)


class Gate:
    """Which operations of one claim may begin.

    Only the rows of accounts at hand are locked, of which something is to be written, until the transaction ends:
    workers count one after the other. Accounts that answer and have no budget are not touched.
    """

    def __init__(
        self, budgets: Sequence[budget.Budget], connection: sa.Connection, now: float, *, shaky: bool = True
    ) -> None:
        """shaky: some account missed an answer lately, as far as is known."""
        self._budgets, self._connection, self.now = budgets, connection, now
        missing = accounts.silent(connection) if shaky else {}
        #: Accounts that missed an answer lately: whoever is to make something there asks first whether they answer.
        self.shaky = missing.keys()
        self._silent = {name: until for name, until in missing.items() if until is not None}
        self._spent: dict[str, budget.Spending] = {}
        self._lost: set[tuple[str, str]] = set()
        self._hoped: set[str] = set()

    def avoids(self, account: str) -> bool:
        """Should what may be made elsewhere not be made there? One creation of a claim may hope that a silent account
        is back when its time has come."""
        until = self._silent.get(account)
        if until is None:
            return False
        if until > self.now or account in self._hoped:
            return True
        self._hoped.add(account)
        return False

    def admit(self, wishes: Sequence[Some], new: Collection[str]) -> list[Some]:
        """Those that may begin; the others have been given back. What is urgent is asked first, of all
        infrastructures. new: accounts that are to be put on the books, whose rows are locked, too."""
        self._open(wishes, new)
        before = {name: one.spent_until for name, one in self._spent.items()}
        admitted = [one for one in sorted(wishes, key=self._comes_later) if self._admits(one)]
        for name, spending in self._spent.items():
            if spending.spent_until != before[name]:
                accounts.spend(self._connection, name, until=spending.spent_until)
        return admitted

    def _open(self, wishes: Sequence[Wish], new: Collection[str]) -> None:
        at_hand = {one.account for one in wishes if one.account is not None}
        limits = {name: found for name in at_hand if (found := budget.of(name, self._budgets)) is not None}
        due = {name for name in at_hand & self._silent.keys() if self._silent[name] <= self.now}
        if not (names := limits.keys() | due | set(new)):
            return
        locked = accounts.lock(self._connection, names)
        for name in due:  # others may have asked meanwhile, or been answered
            del self._silent[name]
            if (until := locked[name].silent_until) is not None:
                self._silent[name] = until
        if not limits:
            return
        claimed = [one.operation.target for one in wishes]  # not at work yet
        at_work = accounts.at_work(self._connection, limits.keys(), now=self.now, apart_from=claimed)
        for name, found in limits.items():
            self._spent[name] = budget.Spending(found, at_work.get(name, 0), locked[name].spent_until)
        creating = {one.operation.infra_id for one in wishes if one.operation.kind is instance.OperationKind.CREATE}
        if creating:
            self._lost = nodes.lost_lately(self._connection, creating, since=self.now - HEALING)

    def _comes_later(self, wish: Wish) -> bool:
        return not self._is_urgent(wish.operation)

    def _is_urgent(self, operation: instance.Operation) -> bool:
        creates = operation.kind is instance.OperationKind.CREATE
        return not creates or (operation.infra_id, operation.node_name) in self._lost

    def _admits(self, wish: Wish) -> bool:
        """May it begin? If not it has been given back."""
        if wish.account is None:
            return True
        silent_until = self._silent.get(wish.account)
        if silent_until is not None and silent_until > self.now:
            return self._give_back(wish, "account_silent", silent_until)
        if (spending := self._spent.get(wish.account)) is not None:
            again = spending.spend(self.now, urgent=self._is_urgent(wish.operation))
            if again is not None:
                return self._give_back(wish, "waiting_for_budget", again)
        if silent_until is not None:  # this one asks whether the account is back
            accounts.probe(self._connection, wish.account, seen=silent_until, now=self.now)
            self._silent[wish.account] = self.now + accounts.SILENCE
        return True

    def _give_back(self, wish: Wish, code: str, again: float) -> bool:
        reason = status.Reason(code=code, arguments={"account": wish.account}, since=self.now)
        operation, node = wish.operation, wish.node
        operations.give_back(
            self._connection,
            operation.target,
            operation.token or "",
            retry_at=again,
            reason=reason,
            attempts=operation.attempts,  # it was not tried
        )
        if node is not None and not node.reason.same(reason):
            nodes.move(self._connection, node.node_id, node.lifecycle, node.lifecycle, reason=reason)
        return False
