"""What travels between processes: wake-ups that name rows, never state. Any may be lost, doubled or late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from occo_celery.model.instance import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Ask for a pass on each of infra_ids. token: the claim that must be current; after: seconds to hold it back;
    woken: something has happened to them, so a glance would not be enough.

    name: of the infrastructure when there is one only, for people who watch.
    """

    token: str
    infra_ids: tuple[str, ...]
    after: float = 0.0
    woken: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Ask for a teardown to be gone through from ``stage`` on: a chain of links, each naming the row's token."""

    infra_id: str
    token: str
    stage: int
    levels: int
    name: str = ""


class Send(Protocol):
    """The way to the broker. Every method ends within seconds; raises BrokerUnavailable, which loses nothing: beat
    sends again what SQL asks for."""

    def passes(self, claim: Claim) -> None: ...

    def operations(self, operations: Sequence[Operation]) -> None: ...

    def teardown(self, chain: Chain) -> None: ...

    def sweep(self, account: str) -> None:
        """Have a cloud account looked through."""

    def check(self) -> None:
        """Raise BrokerUnavailable if the broker does not answer now."""
