"""Stopping real servers in tests, so that they surely do not answer any more."""

from __future__ import annotations

import os
import pathlib
import signal

from tests.contract.cases import wait_until


def freeze(pid: int) -> None:
    """SIGSTOP, until every thread has stopped: one that is in the kernel goes on for a moment, and may answer."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _states(pid) == {"T"}, what=f"process {pid} stopped")


def thaw(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    """Of its threads. The name before the state, in brackets, may hold anything: proc_pid_stat(5)."""
    found = set()
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            found.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found
