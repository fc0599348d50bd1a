"""The check of databases where no MySQL is: nobody, silence, other protocols. A real one: tests/integration/mysql."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest

from occo_celery.model import status
from occo_celery.plugins import registry
from occo_celery.plugins.healthcheck import base, mysqldbs, run

CHECK = mysqldbs.MysqldbsCheck()


def database(port: int, **changed: Any) -> dict[str, Any]:
    return {"name": "shop", "user": "monitor", "pass": "hunter2", "port": port, **changed}


def ask(value: Any, *addresses: str, limit: float = 5.0) -> str | None:
    target = base.Target(node_id="n", addresses=addresses)
    reason = asyncio.run(CHECK.check([value], target, limit))
    return reason and reason.text()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.2", 0))
        listening.listen(2000)
        yield listening


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x01\x00\x00\x00\x0a",
        b"\x05\x00\x00\x00\x0a8.0\x00",
        b"\x00" * 64,
        bytes(range(256)) * 20,
    ],
)
def test_what_is_no_mysql(server: socket.socket, greeting: bytes) -> None:
    def greet() -> None:
        client, _ = server.accept()
        with client:
            client.sendall(greeting)

    thread = threading.Thread(target=greet)
    thread.start()
    assert ask(database(port(server)), "127.0.0.2") == "waiting_for: mysql shop, no MySQL"
    thread.join()


def test_an_error_packet_instead_of_a_greeting_is_told_in_our_words(server: socket.socket) -> None:
    words = b"\xff\x6a\x04Host 'secret.example' is not allowed to connect"  # 1130

    def greet() -> None:
        client, _ = server.accept()
        with client:
            client.sendall(len(words).to_bytes(3, "little") + b"\x00" + words)

    thread = threading.Thread(target=greet)
    thread.start()
    assert ask(database(port(server)), "127.0.0.2") == "waiting_for: mysql shop, this host is not allowed"
    thread.join()


def test_nobody_there(server: socket.socket) -> None:
    there = port(server)
    server.close()
    assert ask(database(there), "127.0.0.2") == "waiting_for: mysql shop, refused"
    assert ask(database(there)) == "waiting_for: mysql shop, no address yet"


def test_a_thousand_that_say_nothing_cost_no_threads_and_end_together(server: socket.socket) -> None:
    before = threading.active_count()
    most = before

    class Counting(mysqldbs.MysqldbsCheck):
        async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
            nonlocal most
            found = await super().check(value, target, limit)
            most = max(most, threading.active_count())
            return found

    section = {"mysqldbs": [database(port(server))]}
    target = base.Target(node_id="", addresses=("127.0.0.2",))
    jobs = [
        run.Job(target=base.Target(node_id=str(n), addresses=target.addresses), section=section) for n in range(1000)
    ]
    found = run.examine_all(jobs, {"mysqldbs": Counting()}, limit=1.0, deadline=5.0)
    texts = {one.reason.text() for one in found.values() if one is not None}
    assert texts == {"waiting_for: mysql shop, timed out"}
    assert len(found) == 1000
    assert most - before < 20


def test_a_password_is_wanted_and_not_shown() -> None:
    schema = registry.schema_for("health_check")
    with pytest.raises(pydantic.ValidationError) as caught:
        schema.model_validate({"mysqldbs": [{"name": "shop", "user": "monitor"}]})
    assert "pass" in str(caught.value)
    assert "hunter2" not in repr(mysqldbs.Database.model_validate(database(3306)))


def test_a_name_by_reference_is_never_shown(server: socket.socket) -> None:
    there = port(server)
    server.close()
    target = base.Target(node_id="n", addresses=("127.0.0.2",), names={"secret": lambda name: f"hunter2-{name}"})
    told = database(there, name={"secret": "db"}, user={"secret": "user"}, **{"pass": {"secret": "password"}})
    reason = asyncio.run(CHECK.check([told], target, 5.0))
    assert reason is not None
    assert reason.text() == "waiting_for: mysql {secret: db}, refused"
