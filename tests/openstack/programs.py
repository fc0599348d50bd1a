"""The processes that a cloud consists of: each with its own log file, process group, and a condition to wait for."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from tests import freezing


class Program:
    """A process that runs as long as the cloud does."""

    def __init__(self, name: str, log: pathlib.Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, condition: Callable[[], object], timeout: float = 180.0) -> None:
        """Until the condition holds; RuntimeError, which names the log, if it does not or if the process ends."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._process.returncode}, see {tail(self.log)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} was not ready within {timeout:g} s, see {tail(self.log)}")
            time.sleep(0.1)

    def wait_for_port(self, port: int) -> None:
        self.wait_for(lambda: listens(port))

    def signal(self, number: int) -> None:
        """To the process and its workers. Returns after SIGSTOP when every thread of them has stopped."""
        for pid in self._pids():
            if number == signal.SIGSTOP:
                freezing.freeze(pid)
            else:
                os.kill(pid, number)

    def end(self, timeout: float = 30.0) -> None:
        """In good order: it may write what it has in memory."""
        self._process.terminate()
        self._process.wait(timeout)

    def kill(self) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _pids(self) -> list[int]:
        if self._process.poll() is not None:
            return []
        workers = psutil.Process(self.pid).children(recursive=True)
        return [self.pid, *(worker.pid for worker in workers if worker.status() != psutil.STATUS_ZOMBIE)]


def run(log: pathlib.Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """A command that ends by itself; RuntimeError, which names its log, if it fails."""
    with open(log, "ab") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}, see {tail(log)}")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tail(log: pathlib.Path) -> str:
    """The log's name and its end: the folder may be gone when the message is read."""
    return f"{log}:\n{log.read_text(errors='replace')[-3000:]}"


def errors_in(log: pathlib.Path) -> str:
    """The last lines of oslo.log's that are errors, below the log's name; empty if there are none."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if " ERROR " in line]
    return "\n".join([f"{log}:", *lines[-30:]]) if lines else ""
