"""What runs on this host: finding processes, knowing them again, and signalling none but them.

A process is named by its pid and start time; a pid alone is used again. Environments serve to find the processes
of a node that its record does not name. Linux is read through /proc; elsewhere psutil does its best. Used by
process.py and process_end.py.
"""

from __future__ import annotations

import functools
import os
import pathlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

from occo_celery.plugins.resourcehandler import process_launcher

#: How often new processes are looked for while all are being looked at.
ROUNDS = 10
LINUX = os.path.exists("/proc/self/stat")
#: It is gone, or another user's. Any other trouble (too many open files, say) must not look as if it were gone.
UNSEEN = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process. dead: nothing of it runs any more, it only waits for its parent to reap it (a zombie)."""

    pid: int
    start: int
    group: int
    session: int
    dead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A living process with the environment that a node's process was given, or inherited."""

    process: Process
    environment: Mapping[str, str]


@functools.cache
def boot_id() -> str:
    """Names the time since the host was started: start times of another boot mean nothing in this one."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except FileNotFoundError:
        return str(int(psutil.boot_time()))


def look(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none."""
    if not LINUX:
        return _look_elsewhere(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except UNSEEN:
        return None
    # proc_pid_stat(5), from field 3: state, ppid, pgrp, session, ..., num_threads (20), itrealvalue, starttime (22).
    # The first thread of a process may end before the others: also that is shown as a zombie.
    dead = fields[0] in b"ZXx" and int(fields[17]) <= 1
    return Process(pid=pid, start=int(fields[19]), group=int(fields[2]), session=int(fields[3]), dead=dead)


def _look_elsewhere(pid: int) -> Process | None:
    try:
        dead = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return Process(
            pid=pid, start=process_launcher.start_of(pid), group=os.getpgid(pid), session=os.getsid(pid), dead=dead
        )
    except (psutil.Error, OSError):
        return None


def every() -> Iterator[Process]:
    """All living processes that can be seen, each looked at only when it is asked for.

    What forks and exits while the others are being looked at would slip through; so pids that are new since are
    looked at until there are none. They are few, and looking at few is quick.
    """
    known: set[int] = set()
    for _ in range(ROUNDS):
        new = set(psutil.pids()) - known
        if not new:
            return
        known |= new
        for pid in sorted(new):
            process = look(pid)
            if process is not None and not process.dead:
                yield process


def environment(pid: int) -> Mapping[str, str]:
    """What a process was started with; empty where that cannot be read, or was overwritten by the process."""
    if not LINUX:
        try:
            found: Mapping[str, str] = psutil.Process(pid).environ()
        except (psutil.Error, OSError):
            return {}
        return found
    try:
        raw = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except UNSEEN:
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def tagged(name: str) -> list[Tagged]:
    """All living processes whose environment has this variable."""
    found = ((process, environment(process.pid)) for process in every())
    return [Tagged(process=process, environment=variables) for process, variables in found if name in variables]


def writes_to(pid: int, path: str) -> bool:
    """True if standard output or error of a process is this file."""
    for descriptor in (1, 2):
        try:
            if os.path.samefile(f"/proc/{pid}/fd/{descriptor}", path):
                return True
        except UNSEEN:
            continue
    return False


def is_running(pid: int, start: int) -> bool:
    """True while this very process, not a later one with its pid, has not ended."""
    now = look(pid)
    return now is not None and now.start == start and not now.dead


def send(process: Process, number: signal.Signals) -> None:
    """Signal this very process; nothing happens if it is gone. Raises PermissionError."""
    handle = None
    try:
        if hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(process.pid)  # holds on to what has the pid now, while that is looked at
        if not is_running(process.pid, process.start):
            return
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        return
    finally:
        if handle is not None:
            os.close(handle)
