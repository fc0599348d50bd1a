"""The check by ICMP echo: healthy when an echo comes back."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import icmplib

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.healthcheck import answers, base

#: Echo requests of one check; one of them may be lost on the way.
ATTEMPTS = 2


class PingCheck(base.HealthCheck):
    """``ping: true``"""

    value: ClassVar[Any] = bool
    default: ClassVar[Any] = True

    async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
        """Asks twice, half of ``limit`` each. Raises TransientError where pings are not permitted."""
        if not value:
            return None
        if not target.addresses:
            return answers.no_address("ping")
        try:
            async with asyncio.timeout(limit):
                for _ in range(ATTEMPTS):
                    if await _echo(target.addresses[0], limit / ATTEMPTS):
                        return None
        except TimeoutError:
            pass
        except icmplib.NameLookupError:
            return answers.waiting_for("ping", "unknown name")
        return answers.waiting_for("ping", "timed out")


async def _echo(address: str, limit: float) -> bool:
    for privileged in (False, True):
        try:
            host = await icmplib.async_ping(address, count=1, timeout=limit, privileged=privileged)
        except icmplib.SocketPermissionError:
            continue
        except icmplib.ICMPSocketError as problem:  # no socket: trouble of this host
            raise errors.TransientError(f"this host cannot ask: {problem}") from problem
        return bool(host.is_alive)
    raise errors.TransientError(
        "this host may not send pings: set `ping: false` in health_check, or permit them with "
        'sysctl net.ipv4.ping_group_range="0 2147483647"'
    )
