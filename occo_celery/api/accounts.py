"""What is known of the cloud accounts in use. Called by `occo accounts`; asks the UDS only, no cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from occo_celery import wiring
from occo_celery.model import budget
from occo_celery.uds import accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One account. Times are seconds since the epoch.

    instances: on the books, those included that are being made or dropped. at_work: instructions that workers are at
    now. spent: seconds until the budget's calls are paid off; 0 without a rate. silent_until: it does not answer and
    is asked again then; reason: why. healing_waits_until: many of its instances failed at once. orphans: instances
    that the last sweep saw and nobody knows; they are dropped when they are seen again. swept_next: when that is.
    """

    account: str
    instances: int
    at_work: int
    budget: budget.Budget | None
    spent: float
    silent_until: float | None
    reason: str | None
    healing_waits_until: float | None
    orphans: int
    swept_next: float | None


def overview(system: wiring.System) -> Sequence[Overview]:
    """All accounts on which something was to be made, in the order of their names. Raises StoreError."""
    delay = system.settings.enactor.breaker_delay
    with system.store.read() as connection:
        known, now = accounts.known(connection), system.now()
        there = accounts.instances(connection)
        at_work = accounts.at_work(connection, [one.account for one in known], now=now)
    return [
        Overview(
            account=one.account,
            instances=there.get(one.account, 0),
            at_work=at_work.get(one.account, 0),
            budget=budget.of(one.account, system.settings.budgets),
            spent=max(0.0, (one.spent_until or 0.0) - now),
            silent_until=one.silent_until,
            reason=one.reason,
            healing_waits_until=_after(one.breaker_at, delay, now),
            orphans=len(one.suspects),
            swept_next=one.sweep_due,
        )
        for one in known
    ]


def _after(opened: float | None, delay: float, now: float) -> float | None:
    """When a breaker lets healing go on; None if it is not open now."""
    return opened + delay if opened is not None and now < opened + delay else None
