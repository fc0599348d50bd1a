"""Starts the process of one node; run as a script of its own by process_start.py, never with the worker's state.

It needs only the standard library (``python -I -S``), reads what to start from standard input, and forks, so that
the new process is nobody's child: init reaps it. The one thing that must never happen twice for a node is decided
here by the file system: the new process links its identity (pid and start time) to ``record.json`` before it
becomes the node's command. link(2) fails where the name exists, so of any number of launchers, started by any
number of workers, dead or alive, exactly one gets past it. It also fails where the folder was archived meanwhile.

What goes wrong is told as JSON on the file descriptor given as the only argument. That is closed by a successful
exec and by every death; what holds then is on disk.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

RECORD = "record.json"
OUTPUT = "output"


class NotExecuted(OSError):
    """The record is made, but the process cannot become the command."""


def step(name: str) -> None:
    """A place where tests let it die: ``read``, ``forked``, ``unrecorded``, ``recorded``."""


def start_of(pid: int) -> int:
    """When a process was started: clock ticks since boot (Linux), else milliseconds since the epoch.

    It never changes during a process's life, exec included; with the pid it names one process of this boot.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            start = stat.read().rpartition(b")")[2].split()[19]
    except FileNotFoundError:
        import psutil  # no /proc: macOS, where process_start.py leaves out -S

        return round(float(psutil.Process(pid).create_time()) * 1000)
    return int(start)


def write(path: str, text: str) -> None:
    """A new file, readable by the owner only, safely on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _default_signals() -> None:
    """Workers ignore and block some signals, and exec passes that on."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # reserved by the C library
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _redirect(folder: str) -> None:
    """Nothing to read, everything written to the node's output. The descriptors opened here close at exec."""
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(os.path.join(folder, OUTPUT), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target, inheritable=True)


def _claim(folder: str, record: dict[str, Any]) -> None:
    """Become the one process of this node. Raises FileExistsError, or FileNotFoundError if the node has ended."""
    pid = os.getpid()
    record = {**record, "pid": pid, "start": start_of(pid), "created": time.time()}
    draft = os.path.join(folder, f"{RECORD}.{pid}")
    write(draft, json.dumps(record))
    try:
        os.link(draft, os.path.join(folder, RECORD))
    finally:
        os.unlink(draft)


def _become(spec: dict[str, Any]) -> None:
    """Turn this process into the node's command; returns never. Raises OSError, TimeoutError."""
    os.setsid()
    _default_signals()
    os.umask(0o022)
    os.chdir(spec["directory"])
    _redirect(spec["folder"])
    step("unrecorded")
    if time.monotonic() > spec["deadline"]:
        raise TimeoutError("the time for starting it was over")
    _claim(spec["folder"], spec["record"])
    step("recorded")
    try:
        os.execve(spec["executable"], spec["arguments"], spec["environment"])  # noqa: S606  # that is its task
    except OSError as problem:
        raise NotExecuted(problem.errno, problem.strerror) from problem


def main() -> None:
    """Read the specification, fork, start."""
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    try:
        spec = json.load(sys.stdin.buffer)  # cut short when the worker died: no valid JSON
        step("read")
        if os.fork():
            os._exit(0)
        step("forked")
        _become(spec)
    except BaseException as problem:  # noqa: BLE001  # there is nobody else to tell
        told = {
            "errno": getattr(problem, "errno", None),
            "error": getattr(problem, "strerror", None) or str(problem) or type(problem).__name__,
            "recorded": isinstance(problem, NotExecuted),
        }
        os.write(report, json.dumps(told).encode())
    os._exit(1)


if __name__ == "__main__":
    main()
