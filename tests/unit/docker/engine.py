"""A small HTTP server that answers as a Docker daemon would, for answers that no real one can be brought to give; and
as a web server that has archives of images.

The real SDK asks it over TCP. Paths and answers are those of the Docker Engine API 1.41.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from occo_celery.plugins.resourcehandler import base, docker

VERSION = "/v1.41"
CONTAINER = {"Id": "c1", "State": "running", "Labels": {"occo_node_id": "n1", "occo_infra_id": "shop"}}
NOT_THERE = 404, {"message": "no such thing"}


@dataclass
class Engine:
    """answers: (status, body, headers) by ``METHOD /path``, without the API's version; calls: the same, in order.

    go: until it is set, what is asked for archives is not answered."""

    port: int = 0
    answers: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handler(self, **section: Any) -> docker.DockerHandler:
        told = self.section(**section)
        return docker.DockerHandler(docker.DockerHandler.account(told, {}), told, {}, {})

    def section(self, **changed: Any) -> dict[str, Any]:
        endpoint = f"tcp://127.0.0.1:{self.port}"
        return {"type": "docker", "endpoint": endpoint, "image": "web:1", "origin": "local", **changed}

    def creation(
        self, environment: Mapping[str, str] | None = None, timeout: float = 30.0, **section: Any
    ) -> base.Creation:
        return base.Creation(
            node_id="n1",
            infra_id="shop",
            node_name="web",
            section=self.section(**section),
            environment=environment or {},
            timeout=timeout,
        )


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """One that makes, starts and removes the container c1, unless its answers are changed."""
    made = Engine(
        answers={
            "GET /version": (200, {"ApiVersion": "1.41"}),
            "POST /containers/create": (201, {"Id": "c1", "Warnings": []}),
            "POST /containers/c1/start": (204, None),
            "DELETE /containers/c1": (204, None),
            "GET /containers/json": (200, [CONTAINER]),
        }
    )
    made.go.set()

    class Requests(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.take_body()
            asked = f"{self.command} {self.path.partition('?')[0].removeprefix(VERSION)}"
            made.calls.append(asked)
            if "archive" in asked:
                made.go.wait(60)
            status, body, *more = made.answers.get(asked, NOT_THERE)
            content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **dict(*more)}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def take_body(self) -> None:
            """All of it: what is left would be taken for the next request. The SDK sends archives in chunks."""
            if self.headers.get("Transfer-Encoding") != "chunked":
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return
            while size := int(self.rfile.readline() or b"0", 16):
                self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            """Not on the terminal."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Requests)
    server.daemon_threads = True
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield made
    finally:
        made.go.set()
        server.shutdown()
        server.server_close()
