"""What the `process` handler keeps on disk: one folder a node, and the archive of those that have ended.

    root/NODE_ID/record.json     who the node's process is; made once, by process_launcher.py, never changed
    root/NODE_ID/context         the rendered user data
    root/NODE_ID/attributes.json
    root/NODE_ID/output          standard output and error
    root/NODE_ID/work/           the working directory, unless the section names one
    root/NODE_ID/dropping        when its end was first asked for
    root/archive/NODE_ID/        the same without the context, which may hold secrets
    root/.locks/, root/addresses.sqlite

Everything is readable by the owner only. Used by process.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import filelock

from occo_celery import errors
from occo_celery.plugins.resourcehandler import process_launcher

CONTEXT = "context"
ATTRIBUTES = "attributes.json"
DROPPING = "dropping"
WORK = "work"
ARCHIVE = "archive"
ADDRESSES = "addresses.sqlite"
OUTPUT = process_launcher.OUTPUT
#: Lock files are shared by nodes: a fixed number of them never has to be cleaned up.
LOCKS = 64
#: Of an output, no more than this is read for its last lines.
TAIL_BYTES = 1 << 20

_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_RESERVED = {ARCHIVE, ADDRESSES, f"{ADDRESSES}-wal", f"{ADDRESSES}-shm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Who the process of a node is. start: see process_launcher.start_of; created: seconds since the epoch."""

    node_id: str
    infra_id: str
    host: str
    boot: str
    pid: int
    start: int
    address: str
    created: float

    @property
    def instance_id(self) -> str:
        return instance_id(self.node_id, self.pid, self.start)


def instance_id(node_id: str, pid: int, start: int) -> str:
    return f"{node_id}:{pid}:{start}"


def node_of(instance: str) -> str | None:
    """The node_id in an instance id; None if it is none of ours."""
    node_id, _, rest = instance.partition(":")
    return node_id if is_valid(node_id) and re.fullmatch(r"\d+:\d+", rest) else None


def is_valid(node_id: str) -> bool:
    """Whether a node_id can be the name of a folder here."""
    return _NODE_ID.fullmatch(node_id) is not None and node_id not in _RESERVED


def _draft_of(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.draft")


class Folders:
    """All folders under one root. It is made when first written to; reading where nothing is finds nothing."""

    def __init__(self, root: str) -> None:
        self.root = pathlib.Path(root)

    def path(self, node_id: str) -> pathlib.Path:
        return self.root / node_id

    @contextlib.contextmanager
    def lock(self, node_id: str, timeout: float) -> Iterator[None]:
        """Only one at a time, of all threads and processes, makes, ends or forgets a node. Raises TransientError."""
        self._folder(self.root)
        self._folder(self.root / ".locks")
        path = self.root / ".locks" / f"{zlib.crc32(node_id.encode()) % LOCKS:02d}"
        held = filelock.FileLock(path, timeout=max(0.0, timeout), mode=0o600, poll_interval=0.01)
        try:
            held.acquire()
        except filelock.Timeout as problem:
            raise errors.TransientError(f"{node_id} is in other hands since {timeout:.1f} s ({path})") from problem
        try:
            yield
        finally:
            held.release()

    def node_ids(self) -> list[str]:
        """All nodes that have a folder."""
        try:
            return [entry.name for entry in os.scandir(self.root) if is_valid(entry.name) and entry.is_dir()]
        except FileNotFoundError:
            return []

    def record(self, node_id: str) -> Record | None:
        """The record of a node; None if no process was ever started, or if it cannot be understood."""
        try:
            fields = json.loads((self.path(node_id) / process_launcher.RECORD).read_bytes())
            return Record(**{name: fields[name] for name in Record.__slots__})
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None

    def make(self, node_id: str, context: str, attributes: str) -> None:
        """The folder of a new node with what the node is told."""
        folder = self.path(node_id)
        self._folder(folder)
        self._folder(folder / WORK)
        self._put(folder / CONTEXT, context)
        self._put(folder / ATTRIBUTES, attributes)

    def dropping_since(self, node_id: str) -> float | None:
        """When the end of a node was first asked for, on the monotonic clock of this boot; None if it was not."""
        try:
            return float((self.path(node_id) / DROPPING).read_text("ascii"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def mark_dropping(self, node_id: str) -> None:
        self._folder(self.path(node_id))
        self._put(self.path(node_id) / DROPPING, repr(time.monotonic()))

    def archive(self, node_id: str, keep: int) -> None:
        """Take a folder out of sight, without its secrets; at most ``keep`` stay, the latest."""
        folder, archive = self.path(node_id), self.root / ARCHIVE
        if not folder.exists():
            return
        self._remove_secrets(folder)
        self._folder(archive)
        target = archive / node_id
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
        os.utime(target)
        self._prune(archive, keep)

    def discard(self, node_id: str) -> None:
        """Away with the folder of a node that never ran."""
        if not self.path(node_id).exists():
            return
        self._remove_secrets(self.path(node_id))  # first: what comes after may be cut short
        doomed = self.root / f".discarded-{node_id}-{time.monotonic_ns()}"
        self.path(node_id).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def output(self, node_id: str, lines: int) -> str | None:
        """The last lines that a node, also an archived one, has written; None if there is no such node."""
        for folder in (self.path(node_id), self.root / ARCHIVE / node_id):
            try:
                with (folder / OUTPUT).open("rb") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(0, size - TAIL_BYTES))
                    text = file.read(TAIL_BYTES).decode("utf-8", "replace")
            except (FileNotFoundError, NotADirectoryError):
                continue
            return "\n".join(text.splitlines()[-lines:] if lines > 0 else [])
        return None

    def _remove_secrets(self, folder: pathlib.Path) -> None:
        for name in (CONTEXT, ATTRIBUTES):
            (folder / name).unlink(missing_ok=True)
            _draft_of(folder / name).unlink(missing_ok=True)  # a worker died while it wrote

    def _prune(self, archive: pathlib.Path, keep: int) -> None:
        ended = []
        for folder in archive.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another worker prunes, too
                ended.append((folder.stat().st_mtime_ns, folder))
        for _, folder in sorted(ended)[: max(0, len(ended) - keep)]:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, path: pathlib.Path) -> None:
        path.mkdir(mode=0o700, parents=path == self.root, exist_ok=True)

    def _put(self, path: pathlib.Path, text: str) -> None:
        """All of it or nothing, whatever happens meanwhile."""
        draft = _draft_of(path)  # under the node's lock: only one is being written
        process_launcher.write(str(draft), text)
        draft.replace(path)
