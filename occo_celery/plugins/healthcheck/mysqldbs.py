"""The check of MySQL databases: healthy when one can log in to each and gets an answer.

The server speaks first in MySQL's protocol, so whether it is there is known before PyMySQL, which blocks, gets a
thread: a thousand servers that say nothing cost no threads. PyMySQL is an extra, imported when a database is asked.

Source: MySQL Internals, "Connection Phase".
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.contextualisation import templates
from occo_celery.plugins.healthcheck import answers, base, ports

#: Error codes of servers (MySQL Reference Manual, "Server Error Message Reference") in our words: their own may quote
#: who one is.
_WORDS = {
    1040: "too many connections",
    1044: "access denied",
    1045: "access denied",
    1049: "no such database",
    1129: "this host is blocked",
    1130: "this host is not allowed",
    1203: "too many connections",
    1226: "too many connections",
}


class Database(pydantic.BaseModel):
    """One database, and as whom to log in."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    name: str = pydantic.Field(min_length=1)
    user: str = pydantic.Field(min_length=1)
    password: str = pydantic.Field(alias="pass", repr=False, json_schema_extra={"sensitive": True})
    port: ports.Port = 3306


class MysqldbsCheck(base.HealthCheck):
    """``mysqldbs: [{name: shop, user: monitor, pass: {secret: monitor_password}}]``"""

    value: ClassVar[Any] = list[Database]
    default: ClassVar[Any] = []
    renders: ClassVar[bool] = True

    async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
        """The first database that does not answer well, one after the other within ``limit`` (run.py gives single
        ones). Raises TemplateError; PermanentError where PyMySQL is not installed."""
        ends = asyncio.get_running_loop().time() + limit
        for told in value:
            what = f"mysql {templates.told(told['name'])}"
            if not target.addresses:
                return answers.no_address(what)
            database = templates.render_tree(told, target.names, f"health_check {what}")
            try:
                async with asyncio.timeout_at(ends):
                    detail = await _ask(target.addresses[0], database, ends)
            except OSError as problem:  # TimeoutError is one
                detail = answers.word(problem)
            if detail is not None:
                return answers.waiting_for(what, detail)
        return None

    def templates(self, value: Any) -> Mapping[str, str]:
        """All texts of all databases."""
        return dict(templates.strings(value))


async def _ask(address: str, database: Mapping[str, Any], ends: float) -> str | None:
    loop = asyncio.get_running_loop()
    port = int(database.get("port", 3306))
    family, kind, protocol, _, place = await _resolved(address, port)
    with socket.socket(family, kind, protocol) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, place)
        await _readable(connection)
        left = ends - loop.time()
        # a copy for the thread: it may outlast this call, which closes its own when its time is over
        return await loop.run_in_executor(None, _log_in, connection.dup(), database, left)


async def _resolved(address: str, port: int) -> tuple[Any, ...]:
    """The first place that an address or host name stands for. Only a name takes a thread."""
    try:
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    except socket.gaierror:
        return (await asyncio.get_running_loop().getaddrinfo(address, port, type=socket.SOCK_STREAM))[0]


async def _readable(connection: socket.socket) -> None:
    """Waits for the server's first word, or its end, without taking it."""
    loop = asyncio.get_running_loop()
    spoken = asyncio.Event()
    loop.add_reader(connection, spoken.set)
    try:
        await spoken.wait()
    finally:
        loop.remove_reader(connection)


def _log_in(connection: socket.socket, database: Mapping[str, Any], limit: float) -> str | None:
    """None, or why not."""
    with connection:
        try:
            import pymysql
        except ImportError as problem:
            raise errors.PermanentError(
                "the health check mysqldbs needs PyMySQL: install it with `pip install 'occo-celery[mysql]'`"
            ) from problem
        if limit <= 0:
            return "timed out"
        connection.settimeout(limit)
        client = pymysql.Connection(
            user=database["user"],
            password=database["pass"],
            database=database["name"],
            read_timeout=limit,
            write_timeout=limit,
            defer_connect=True,
        )
        try:
            client.connect(connection)
            client.ping(reconnect=False)
            client.close()
        except pymysql.MySQLError as problem:
            return _word(problem)
        except RuntimeError as problem:  # a way to log in that needs the package cryptography
            raise errors.PermanentError(f"PyMySQL cannot log in: {problem}") from problem
        except Exception:  # noqa: BLE001 whatever speaks there makes PyMySQL stumble
            return "no MySQL"
    return None


def _word(problem: Exception) -> str:
    if isinstance(problem.__context__, TimeoutError):
        return "timed out"
    code = problem.args[0] if problem.args else None
    if not isinstance(code, int) or code <= 0 or 2000 <= code < 3000:  # the client's own
        return "no MySQL"
    return _WORDS.get(code, f"error {code}")
