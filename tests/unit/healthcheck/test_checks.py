"""The checks, asked of real servers on loopback addresses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from collections.abc import Iterator
from typing import Any

import icmplib
import pydantic
import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins import registry
from occo_celery.plugins.healthcheck import base, ping, ports, urls

PING, PORTS, URLS = ping.PingCheck(), ports.PortsCheck(), urls.UrlsCheck()
LIMIT = 5.0
SHORT = 0.2


def ask(check: base.HealthCheck, value: Any, *addresses: str, limit: float = LIMIT, **names: Any) -> str | None:
    """What the reason says, without its code."""
    target = base.Target(node_id="n", addresses=addresses, names=names)
    reason = asyncio.run(check.check(value, target, limit))
    if reason is None:
        return None
    assert isinstance(reason, status.Reason)
    assert reason.code == "waiting_for"
    assert set(reason.arguments) == {"check", "detail"}
    return f"{reason.arguments['check']} {reason.arguments['detail']}"


@contextlib.contextmanager
def listening(address: str = "127.0.0.2", backlog: int = 16) -> Iterator[tuple[socket.socket, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen(backlog)
        yield server, server.getsockname()[1]


@pytest.fixture
def refused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.2", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose backlog is full: it answers no SYN."""
    with listening(backlog=0) as (_, port), contextlib.ExitStack() as kept:
        for _ in range(8):
            client = kept.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.2", port))
        yield port


# --- sections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", [{}, {"ping": False, "ports": [1, 65535], "urls": ["x"], "timeout": 5}])
def test_sections_that_are_right(section: dict[str, Any]) -> None:
    registry.schema_for("health_check").model_validate(section)


@pytest.mark.parametrize(
    "section",
    [
        {"ping": 1},
        {"ports": [0]},
        {"ports": [65536]},
        {"ports": ["22"]},
        {"ports": [True]},
        {"urls": "x"},
        {"port": [1]},
    ],
)
def test_sections_that_are_wrong(section: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        registry.schema_for("health_check").model_validate(section)


def test_defaults_are_ping_alone() -> None:
    section = registry.schema_for("health_check").model_validate({}).model_dump()
    assert section == {"ping": True, "ports": [], "urls": [], "mysqldbs": [], "timeout": 600.0}


def test_urls_are_templates() -> None:
    assert URLS.templates(["http://{{ip}}/", "{{"]) == {"[0]": "http://{{ip}}/", "[1]": "{{"}
    assert not PORTS.templates([1])
    assert not PING.templates(True)


# --- ports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_port_that_listens_is_healthy(address: str) -> None:
    with listening(address) as (_, port):
        assert ask(PORTS, [port, port], address, "127.0.0.9") is None


def test_the_first_port_that_does_not_listen_is_told(refused_port: int) -> None:
    with listening() as (_, port):
        assert ask(PORTS, [port, refused_port], "127.0.0.2") == f"port {refused_port} refused"


def test_a_port_that_does_not_answer_times_out(black_hole: int) -> None:
    assert ask(PORTS, [black_hole], "127.0.0.2", limit=SHORT) == f"port {black_hole} timed out"


def test_an_instance_without_an_address_is_not_healthy() -> None:
    assert ask(PORTS, [22]) == "port 22 no address yet"
    assert ask(PING, True) == "ping no address yet"
    assert ask(URLS, ["http://{{ip}}/"]) == "url http://{{ip}}/ no address yet"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL, errno.EPERM])
def test_trouble_of_this_host_is_no_trouble_of_the_instance(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    async def fails(*args: object) -> None:
        raise OSError(number, "trouble")

    monkeypatch.setattr(ports, "_connect", fails)
    with pytest.raises(errors.TransientError, match="this host cannot ask: trouble"):
        ask(PORTS, [22], "127.0.0.2")


def test_without_a_file_left_nothing_is_said_of_the_instance() -> None:
    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await PORTS.check([22], base.Target(node_id="n", addresses=("127.0.0.2",)), LIMIT)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with pytest.raises(errors.TransientError, match="Too many open files"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ECONNRESET, "reset"), (errno.EHOSTUNREACH, "no route"), (errno.ENETUNREACH, "no route")],
)
def test_words(monkeypatch: pytest.MonkeyPatch, number: int, word: str) -> None:
    async def fails(*args: object) -> None:
        raise OSError(number, "a long text")

    monkeypatch.setattr(ports, "_connect", fails)
    assert ask(PORTS, [22], "127.0.0.2") == f"port 22 {word}"


# --- ping ----------------------------------------------------------------------------------------------------------


def permitted() -> bool:
    async def main() -> bool:
        for privileged in (False, True):
            with contextlib.suppress(icmplib.SocketPermissionError):
                host = await icmplib.async_ping("127.0.0.1", count=1, timeout=2, privileged=privileged)
                return bool(host.is_alive)
        return False

    return asyncio.run(main())


@pytest.mark.skipif(not permitted(), reason="this host may not send pings")
@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_ping(address: str) -> None:
    assert ask(PING, True, address) is None


def test_ping_turned_off_asks_nothing() -> None:
    assert ask(PING, False) is None


class Pings:
    """Stands for icmplib.async_ping: answers as told, and keeps what it was asked."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    async def __call__(self, address: str, *, count: int, timeout: float, privileged: bool) -> Any:
        self.asked.append((address, privileged))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return icmplib.Host(address, count, [1.0] if answer else [])


def test_ping_falls_back_to_a_privileged_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    pings = Pings(icmplib.SocketPermissionError(False), True)
    monkeypatch.setattr(icmplib, "async_ping", pings)
    assert ask(PING, True, "127.0.0.2") is None
    assert pings.asked == [("127.0.0.2", False), ("127.0.0.2", True)]


def test_one_ping_may_be_lost_two_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmplib, "async_ping", Pings(False, True))
    assert ask(PING, True, "127.0.0.2") is None
    monkeypatch.setattr(icmplib, "async_ping", Pings(False, False))
    assert ask(PING, True, "127.0.0.2") == "ping timed out"


def test_ping_that_is_not_permitted_says_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        icmplib, "async_ping", Pings(icmplib.SocketPermissionError(False), icmplib.SocketPermissionError(True))
    )
    with pytest.raises(errors.TransientError, match=r"ping: false.*net\.ipv4\.ping_group_range"):
        ask(PING, True, "127.0.0.2")
