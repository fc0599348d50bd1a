"""Flower, started on an installation as docs/how-to/watch-with-flower.md says."""

from __future__ import annotations

import base64
import contextlib
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

from tests.acceptance.installation import EXAMPLES, Installation
from tests.contract.cases import wait_until

USER, PASSWORD = "user", "flowers-own-password"


class Flower:
    """What its web server answers, to those who may ask."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> str | None:
        """The body, None while there is no answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}")
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None


@contextlib.contextmanager
def running(installation: Installation) -> Iterator[Flower]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "celery", "-A", "workers.beat", "flower", "--address=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(
        [sys.executable, *command, f"--basic-auth={USER}:{PASSWORD}"],
        env=installation.environment,
        cwd=EXAMPLES.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        flower = Flower(port)
        wait_until(lambda: flower.get("/api/tasks") is not None, 30, "Flower's first answer")
        yield flower
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
