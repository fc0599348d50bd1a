"""The check of URLs, asked of real servers on loopback addresses."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import logging
import pathlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from occo_celery import errors
from occo_celery.plugins.healthcheck import base, urls

URLS = urls.UrlsCheck()
LIMIT = 5.0
SHORT = 0.2
#: Key and certificate for 127.0.0.2, signed by itself, of these tests alone.
PEM = pathlib.Path(__file__).with_name("server.pem")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the status that its path asks for."""

    seen: list[str] = []  # noqa: RUF012 shared on purpose

    def do_GET(self) -> None:
        Handler.seen.append(self.path)
        code = int(self.path.strip("/").partition("?")[0].partition("/")[0] or 200)
        self.send_response(code)
        if code in (301, 302):
            self.send_header("Location", "/500")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """A client that breaks off is what some of these tests are about."""


class Server6(Server):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def serving(address: str, context: ssl.SSLContext | None = None) -> Iterator[int]:
    with (Server6 if ":" in address else Server)((address, 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def web() -> Iterator[int]:
    Handler.seen.clear()
    with serving("127.0.0.2") as port:
        yield port


@pytest.fixture
def tls() -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with serving("127.0.0.2", context) as port:
        yield port


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    """Connects, but never answers by itself."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        yield server, server.getsockname()[1]


def ask(*value: Any, address: str = "127.0.0.2", limit: float = LIMIT, **names: Any) -> tuple[str, str] | None:
    """The arguments of the reason."""
    target = base.Target(node_id="n", addresses=(address,), names=names)
    reason = asyncio.run(URLS.check(list(value), target, limit))
    return None if reason is None else (reason.arguments["check"], reason.arguments["detail"])


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_url_that_answers_is_healthy(address: str) -> None:
    with serving(address) as port:
        url = "http://{{ip}}:{{ variables.port }}/204"
        assert ask(url, url, address=address, variables={"port": port}) is None


@pytest.mark.parametrize("code", [400, 401, 404, 500, 503])
def test_statuses_from_400_on_are_not_healthy(web: int, code: int) -> None:
    assert ask(f"http://{{{{ip}}}}:{web}/{code}") == (f"url http://127.0.0.2:{web}/{code}", f"HTTP {code}")


@pytest.mark.parametrize("code", [301, 302])
def test_a_redirect_is_healthy_and_not_followed(web: int, code: int) -> None:
    assert ask(f"http://{{{{ip}}}}:{web}/{code}") is None
    assert Handler.seen == [f"/{code}"]


def test_no_proxy_of_the_environment_is_used(web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.3:1")
    assert ask(f"http://{{{{ip}}}}:{web}/") is None


def test_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.2", 0))
        url = f"http://127.0.0.2:{bound.getsockname()[1]}/"
        assert ask(url) == (f"url {url}", "refused")


def test_a_server_that_does_not_answer_times_out() -> None:
    with listening() as (_, port):
        assert ask(f"http://{{{{ip}}}}:{port}/", limit=SHORT) == (f"url http://127.0.0.2:{port}/", "timed out")


@pytest.mark.parametrize(("answer", "detail"), [(b"SSH-2.0-x\r\n\r\n", "no HTTP"), (b"", "no HTTP"), (None, "reset")])
def test_a_server_that_speaks_no_http(answer: bytes | None, detail: str) -> None:
    with listening() as (server, port):

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                if answer is None:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                else:
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        found = ask(f"http://{{{{ip}}}}:{port}/")
        thread.join()
    assert found is not None
    assert found[1] == detail


def test_a_body_without_end_is_not_read() -> None:
    with listening() as (server, port):
        held: list[socket.socket] = []

        def serve() -> None:
            client, _ = server.accept()
            held.append(client)
            client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx")

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask(f"http://{{{{ip}}}}:{port}/") is None
        thread.join()
        held[0].close()


def test_an_answer_in_drops_times_out() -> None:
    over = threading.Event()
    with listening() as (server, port):

        def serve() -> None:
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(SHORT / 4):
                    client.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        stop = threading.Timer(20.0, over.set)
        stop.start()
        try:
            found = ask(f"http://{{{{ip}}}}:{port}/", limit=SHORT)
            assert not over.is_set()
        finally:
            over.set()
            stop.cancel()
            thread.join()
            stop.join()
    assert found == (f"url http://127.0.0.2:{port}/", "timed out")


def test_a_certificate_that_nobody_vouches_for_is_not_healthy(tls: int) -> None:
    urls._contexts().clear()
    assert ask(f"https://{{{{ip}}}}:{tls}/") == (f"url https://127.0.0.2:{tls}/", "certificate not trusted")


def test_a_trusted_certificate_is_healthy_and_the_authorities_are_read_once(
    tls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def create_default_context() -> ssl.SSLContext:
        made.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        made[-1].load_verify_locations(PEM)
        return made[-1]

    urls._contexts().clear()
    monkeypatch.setattr(ssl, "create_default_context", create_default_context)
    try:
        assert ask(*[f"https://{{{{ip}}}}:{tls}/"] * 3) is None
        assert len(made) == 1
    finally:
        urls._contexts().clear()


def test_plain_http_reads_no_authorities(web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    urls._contexts().clear()
    monkeypatch.setattr(ssl, "create_default_context", lambda *a, **k: pytest.fail("made a context"))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda *a, **k: pytest.fail("made a context"))
    assert ask(f"http://{{{{ip}}}}:{web}/") is None


def test_no_tls_at_all(web: int) -> None:
    found = ask(f"https://{{{{ip}}}}:{web}/")
    assert found is not None
    assert found[1] == "no TLS"


@pytest.mark.parametrize(
    "url",
    ["ftp://{{ip}}/", "file:///etc/passwd", "{{ip}}/", "http://", "http://{{ip}}:port/", "http://{{ip}}:99999/", ""],
)
def test_what_is_no_url_of_http_is_not_asked(url: str) -> None:
    with pytest.raises(errors.PermanentError, match="is not a URL of http or https"):
        ask(url)


def test_an_undefined_name_is_a_template_error() -> None:
    with pytest.raises(errors.TemplateError, match="'nothing' is undefined"):
        ask("http://{{ip}}/{{ nothing }}")


def test_reasons_and_errors_hold_no_secret(web: int) -> None:
    def secret(name: str) -> str:
        return "hunter2"

    found = ask(f"http://me:hunter2@{{{{ip}}}}:{web}/404?token=hunter2{{{{ secret('t') }}}}", secret=secret)
    assert found == (f"url http://127.0.0.2:{web}/404", "HTTP 404")
    assert Handler.seen == ["/404?token=hunter2hunter2"]
    with pytest.raises(errors.PermanentError) as caught:
        ask("{{ secret('t') }}://x", secret=secret)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_url_by_reference_is_asked_and_never_shown(web: int) -> None:
    place = f"http://127.0.0.2:{web}"
    kept = {"good": f"{place}/204?token=hunter2", "bad": f"{place}/404/hunter2", "no": "x"}
    assert ask({"secret": "good"}, {"secret": "bad"}, secret=kept.__getitem__) == ("url {secret: bad}", "HTTP 404")
    assert Handler.seen == ["/204?token=hunter2", "/404/hunter2"]
    with pytest.raises(errors.PermanentError, match=r"^url \{secret: no\} is not a URL of http or https$"):
        ask({"secret": "no"}, secret=kept.__getitem__)


def test_a_log_shows_no_more_of_a_url_than_its_host(web: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert ask(f"http://me:hunter2@{{{{ip}}}}:{web}/204/hunter2?token=hunter2") is None
    assert f"GET http://127.0.0.2:{web}/... " in caplog.text
    assert "hunter2" not in caplog.text
