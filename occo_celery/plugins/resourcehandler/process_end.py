"""Ends all processes of a node, also those that have left its session. Used by process.py, under the node's lock."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator

from occo_celery.plugins.resourcehandler import process_folders, process_table

#: Seconds for which it is looked whether what was signalled is gone already; most processes end within them.
QUICK = 0.05
#: With force it is looked again so often for what was being forked meanwhile.
ROUNDS = 5


def members(
    folders: process_folders.Folders, node_id: str, record: process_folders.Record | None
) -> Iterator[process_table.Process]:
    """All living processes of a node: those in the session of the recorded one and those with its environment.

    They are given as they are found: what forks and exits without end can only be hit at once.
    """
    certain, leader, output = False, -1, ""  # session 0 is the kernel's own
    if record is not None and record.boot == process_table.boot_id():
        first = process_table.look(record.pid)
        certain, leader = first is not None and first.start == record.start, record.pid
        output = str(folders.path(node_id) / process_folders.OUTPUT)
    for process in process_table.every():
        in_session = leader in (process.group, process.session)
        # without its leader a session's number may be another's by now: then the output tells whose it is
        if (in_session and (certain or process_table.writes_to(process.pid, output))) or _bears_name(
            folders, node_id, process.pid
        ):
            yield process


def press(
    folders: process_folders.Folders,
    node_id: str,
    record: process_folders.Record | None,
    instance_id: str,
    grace: float,
) -> bool:
    """Ask for the end of a node's processes; True when nothing of it runs any more.

    The first call asks (SIGTERM), one made ``grace`` seconds later forces (SIGKILL), what comes between only looks.
    """
    if record is None and not _is_unrecorded(folders, node_id, instance_id):
        return not any(members(folders, node_id, record))  # that one is gone; what else there is has ids of its own
    since = folders.dropping_since(node_id)
    waited = None if since is None else time.monotonic() - since
    if waited is not None and 0 <= waited < grace:  # below 0: asked in another boot
        return not any(members(folders, node_id, record))
    for _ in range(1 if waited is None else ROUNDS):
        hit = []
        for process in members(folders, node_id, record):
            _send(process, force=waited is not None)
            hit.append(process)
        if not hit:
            return True
        if waited is None:
            folders.mark_dropping(node_id)
        _wait_gone(hit)
    return not any(members(folders, node_id, record))


def _bears_name(folders: process_folders.Folders, node_id: str, pid: int) -> bool:
    """True if a process has the environment that this node's process was given."""
    variables = process_table.environment(pid)
    return variables.get("OCCO_NODE_ID") == node_id and variables.get("OCCO_ROOT") == str(folders.root)


def _is_unrecorded(folders: process_folders.Folders, node_id: str, instance_id: str) -> bool:
    """True if an instance id without a record names a living process of this node."""
    _, pid, start = instance_id.rsplit(":", 2)
    return process_table.is_running(int(pid), int(start)) and _bears_name(folders, node_id, int(pid))


def _send(process: process_table.Process, *, force: bool) -> None:
    # SIGCONT: what is stopped could not end
    for number in (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT):
        process_table.send(process, number)


def _wait_gone(processes: Iterable[process_table.Process]) -> None:
    """Until all have ended, but not long."""
    deadline = time.monotonic() + QUICK
    while any(process_table.is_running(one.pid, one.start) for one in processes) and time.monotonic() < deadline:
        time.sleep(0.001)
