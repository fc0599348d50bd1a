"""The check of TCP ports: healthy when a connection can be made to each. Nothing is sent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any, ClassVar

import pydantic

from occo_celery.model import status
from occo_celery.plugins.healthcheck import answers, base

Port = Annotated[int, pydantic.Field(ge=1, le=65535)]


class PortsCheck(base.HealthCheck):
    """``ports: [22, 3306]``"""

    value: ClassVar[Any] = list[Port]
    default: ClassVar[Any] = []

    async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
        """The first port that cannot be connected to, one after the other within ``limit`` (run.py gives single
        ports)."""
        ends = asyncio.get_running_loop().time() + limit
        for port in value:
            what = f"port {port}"
            if not target.addresses:
                return answers.no_address(what)
            try:
                async with asyncio.timeout_at(ends):
                    await _connect(target.addresses[0], port)
            except OSError as problem:  # TimeoutError is one
                return answers.waiting_for(what, answers.word(problem))
        return None


async def _connect(address: str, port: int) -> None:
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, address, port)
    with contextlib.suppress(OSError):
        transport.abort()  # at once: no state of the connection is left behind on either side
