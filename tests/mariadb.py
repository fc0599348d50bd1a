"""A real MariaDB server of a test's own; needs Debian's mariadb-server-core (.ci/install-for-system-tests)."""

from __future__ import annotations

import pathlib
import shutil
import socket
import subprocess

import pymysql

from tests import freezing
from tests.contract.cases import wait_until


class MariaDB:
    """A server on a loopback port, with its data in a folder. root logs in through the socket, without password."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder, self._socket = folder, folder / "mariadb.sock"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def start(self) -> None:
        if shutil.which("mariadbd") is None:
            raise RuntimeError("mariadbd is missing; run .ci/install-for-system-tests as root")
        data = self._folder / "data"
        if not data.exists():
            made = [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
            ]
            subprocess.run([*made, "--user=root"], check=True, capture_output=True)
        with open(self._folder / "log", "ab") as log:
            places = [f"--datadir={data}", f"--socket={self._socket}", f"--port={self.port}"]
            self._process = subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=root", *places, "--bind-address=127.0.0.1"],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, 30.0, f"MariaDB's first answer, see {self._folder / 'log'}")

    def execute(self, *statements: str) -> None:
        with pymysql.connect(unix_socket=str(self._socket), user="root") as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def _answers(self) -> bool:
        if not self._socket.exists():  # PyMySQL would leave a socket behind
            return False
        try:
            self.execute("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True

    def freeze(self) -> None:
        assert self._process is not None
        freezing.freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        freezing.thaw(self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
