"""What the UDS knows of a cloud account as a whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """For the breaker. instances: on the account, with the lost ones that are gone already, counted as far as it
    matters; losses: how many were lost lately; breaker_at: when the breaker last opened, seconds since the epoch."""

    instances: int
    losses: int
    breaker_at: float | None = None
