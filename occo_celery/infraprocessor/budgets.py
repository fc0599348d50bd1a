"""Holds instructions back where the budget of their cloud account is spent: they are given back with a time.

Called by claims.py, in its transaction. Nobody sleeps: beat sends what is held back when its time has come.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from occo_celery.model import budget, instance, status
from occo_celery.uds import accounts, nodes, operations

#: Seconds after the loss of an instance during which creations of its node count as its replacement.
HEALING = 3600.0


@dataclass(slots=True)
class Gate:
    """Which operations of one claim may begin. Accounts without a budget cost nothing.

    The rows of all accounts with budgets are locked while the gate is open: workers count one after the other.
    """

    budgets: Sequence[budget.Budget]
    connection: sa.Connection
    now: float
    _spent: dict[str, budget.Spending] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)
    _lost: set[tuple[str, str]] = field(default_factory=set)
    _waiting: Collection[str] = ()

    def open(self, taken: Collection[instance.Operation]) -> None:
        """taken: what was claimed, and does not count as being at work yet."""
        if not self.budgets:
            return
        self._waiting = [one.target for one in taken]
        self._lock([name for name in accounts.names(self.connection) if budget.of(name, self.budgets) is not None])
        creating = {one.infra_id for one in taken if one.kind is instance.OperationKind.CREATE}
        self._lost = nodes.lost_lately(self.connection, creating, since=self.now - HEALING) if creating else set()

    def _lock(self, names: Collection[str]) -> None:
        found = accounts.lock_spending(self.connection, names, self._waiting, now=self.now)
        for account, (at_work, until) in found.items():
            limits = budget.of(account, self.budgets)
            assert limits is not None
            self._spent[account] = budget.Spending(limits, at_work, until)
            self._before[account] = until

    def admits(self, operation: instance.Operation, account: str, node: instance.Instance | None = None) -> bool:
        """May it begin? If not it has been given back. node: what is to be made, and says what it waits for."""
        if budget.of(account, self.budgets) is None:
            return True
        if account not in self._spent:  # nothing was ever made there
            accounts.ensure(self.connection, account)
            self._lock([account])
        again = self._spent[account].spend(self.now, urgent=self._is_urgent(operation))
        if again is None:
            return True
        reason = status.Reason(code="waiting_for_budget", arguments={"account": account}, since=self.now)
        operations.give_back(
            self.connection,
            operation.target,
            operation.token or "",
            retry_at=again,
            reason=reason,
            attempts=operation.attempts,  # it was not tried
        )
        if node is not None and not node.reason.same(reason):
            nodes.move(self.connection, node.node_id, node.lifecycle, node.lifecycle, reason=reason)
        return False

    def close(self) -> None:
        """Write down what was spent."""
        for account, spending in sorted(self._spent.items()):
            if spending.spent_until != self._before[account]:
                accounts.spend(self.connection, account, until=spending.spent_until)

    def _is_urgent(self, operation: instance.Operation) -> bool:
        creates = operation.kind is instance.OperationKind.CREATE
        return not creates or (operation.infra_id, operation.node_name) in self._lost
