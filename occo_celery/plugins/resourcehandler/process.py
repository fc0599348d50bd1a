"""The resource handler `process`: one supervised group of processes on the worker's host, with a loopback address.

The embedded default: whole infrastructures of real processes, ports and health checks on one machine, without a cloud
and without root. Made by resourcehandler.clouds, used by the enactor and the infraprocessor. Its helpers:
process_start (what to start), process_launcher (starting it, exactly once), process_end (ending it), process_table
(finding and signalling processes), process_folders (what is on disk), process_addresses (leases).

No process of ours stays as a parent of the node's: a supervising shim would cost 8 MB a node, and dying it would take
along what it knows. The command itself is the instance, known by pid, start time and the host's boot, which it
records just before it becomes the command. The price is that exit codes are init's to know: of a process
that is gone the reason says just that, and where its output is.

An instance lives as long as the process that was started; what that has started is ended with it at drop. Processes
are found by session and by environment (OCCO_NODE_ID, OCCO_ROOT), so what leaves its session and also clears
its environment is beyond us.

Options (this handler's part of the configuration): see Options.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pydantic

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import (
    base,
    process_addresses,
    process_end,
    process_folders,
    process_start,
    process_table,
)

ROOT = "~/.occopus/processes"
#: Seconds that forget waits for another worker that is busy with the same node.
FORGET_TIMEOUT = 10.0


class Options(pydantic.BaseModel):
    """Where and how processes are kept.

    root: the folder of the nodes' folders. network: where their addresses are leased from. stop_grace: seconds from
    SIGTERM to SIGKILL. keep: how many folders of ended nodes stay under root/archive/.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    root: str = ROOT
    network: str = "127.77.0.0/16"
    stop_grace: float = pydantic.Field(default=5.0, ge=0)
    keep: int = pydantic.Field(default=100, ge=0)

    @pydantic.field_validator("network")
    @classmethod
    def _loopback(cls, text: str) -> str:
        return str(process_addresses.loopback(text))


@functools.cache
def host_id() -> str:
    """Names this host, readable and the same for ever. Containers may share a machine-id, but not their name, too."""
    name, machine = socket.gethostname(), ""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            machine = machine or pathlib.Path(path).read_text("ascii").strip()
        except OSError:
            continue
    return f"{name}-{hashlib.sha256(f'{machine} {name}'.encode()).hexdigest()[:8]}"


class ProcessHandler(base.ResourceHandler):
    """Processes under one root on one host; on any other host it knows nothing, and says so."""

    # settle: nothing starts after a call's deadline but what was past its last look at the clock by then
    traits = base.Traits(idempotent=True, settle=2.0, absence_grace=0.0)
    schema: ClassVar[type[pydantic.BaseModel]] = process_start.ProcessSection
    #: The first word of accounts and errors, and what the options may be.
    kind: ClassVar[str] = "process"
    options: ClassVar[type[Options]] = Options

    @classmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        default = cls.options.model_fields["root"].default
        root = os.path.realpath(os.path.expanduser(str(options.get("root") or default)))
        return f"{cls.kind}:{host_id()}:{root}"

    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        try:
            self._options = self.options.model_validate(dict(options))
        except pydantic.ValidationError as problem:
            raise errors.ConfigurationError(f"resourcehandler {self.kind}: {problem}") from problem
        # the account's root, not that of the options: nodes made before a change of these are still its own
        _, self._host, self._root = account.split(":", 2)
        self._folders = process_folders.Folders(self._root)
        self._addresses = process_addresses.Addresses(
            self._folders.root / process_folders.ADDRESSES, ipaddress.IPv4Network(self._options.network)
        )
        self._launcher = process_start.Launcher(self.kind)
        self._step: Callable[[str], None] = lambda name: None  # where tests let a creator die

    # --- making ---------------------------------------------------------------------------------------

    def create(self, creation: base.Creation) -> base.Seen:
        self._require_here(errors.TransientError)
        node_id, deadline = creation.node_id, time.monotonic() + creation.timeout
        if not process_folders.is_valid(node_id):
            raise errors.PermanentError(f"{self.kind}: {node_id!r} cannot name a folder")
        with self._disk(errors.TransientError), self._folders.lock(node_id, creation.timeout):
            tagged = process_table.tagged("OCCO_ADDRESS")
            known = self._list([node_id], tagged)[node_id]
            if known:
                return known[0]
            if self._addresses.has_ended(node_id):
                raise errors.PermanentError(f"{self.kind}: {node_id} was dropped; it is not made again")
            avoid = {one.environment["OCCO_ADDRESS"] for one in tagged} | self._reserved()
            launch, address = self._prepare(creation, avoid)
            return self._start(creation, launch, address, deadline)

    def _prepare(self, creation: base.Creation, avoid: set[str]) -> tuple[process_start.Launch, str]:
        """All that comes before the start: an address, what to start, the node's folder."""
        address = self._addresses.lease(creation.node_id, avoid)
        self._step("leased")
        try:
            launch = self._plan(creation, address)
            attributes = json.dumps(dict(creation.attributes), default=str)
        except errors.PermanentError:
            self._withdraw(creation.node_id)
            raise
        self._check(address)
        self._folders.make(creation.node_id, creation.user_data or "", attributes)
        self._step("prepared")
        return launch, address

    def _plan(self, creation: base.Creation, address: str) -> process_start.Launch:
        """What to start. Raises PermanentError."""
        return process_start.plan(self._root, creation, address)

    def _reserved(self) -> set[str]:
        """Addresses that no node gets."""
        return set()

    def _check(self, address: str) -> None:
        """Raises TransientError where an address cannot be had."""
        process_addresses.check(address)

    def _start(
        self, creation: base.Creation, launch: process_start.Launch, address: str, deadline: float
    ) -> base.Seen:
        node_id = creation.node_id
        record = {
            "node_id": node_id,
            "infra_id": creation.infra_id,
            "host": self._host,
            "boot": process_table.boot_id(),
            "address": address,
        }
        with self._disk(errors.OutcomeUnknown):
            trouble = self._launcher.start(launch, str(self._folders.path(node_id)), record, deadline)
            self._step("started")
            made = self._record(node_id)
            if made is None:
                raise trouble.error if trouble else errors.TransientError(f"{self.kind}: the launcher ended too soon")
            if trouble and trouble.recorded:
                self._withdraw(node_id)
                raise trouble.error
            return self._seen(made)

    def _withdraw(self, node_id: str) -> None:
        """Nothing runs and nothing of it is to be left; a launcher that is late finds no folder to record in."""
        self._folders.discard(node_id)
        self._addresses.release(node_id)

    # --- looking --------------------------------------------------------------------------------------

    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[base.Seen, ...]]:
        self._require_here(errors.CloudSilent)
        with self._disk(errors.CloudSilent):
            return self._list(node_ids)

    def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
        self._require_here(errors.CloudSilent)
        with self._disk(errors.CloudSilent):
            tagged = process_table.tagged("OCCO_INFRA_ID")
            node_ids = {one.environment.get("OCCO_NODE_ID", "") for one in self._ours(tagged)}
            node_ids.update(self._folders.node_ids())
            found = (seen for listed in self._list(sorted(node_ids), tagged).values() for seen in listed)
            return tuple(seen for seen in found if infra_id in (None, seen.infra_id))

    def logs(self, instance_id: str, lines: int, timeout: float) -> str:
        self._require_here(errors.CloudSilent)
        with self._disk(errors.CloudSilent):
            node_id = process_folders.node_of(instance_id)
            text = self._folders.output(node_id, lines) if node_id is not None else None
        if text is None:
            raise errors.PermanentError(f"{self.kind}: there is no output of {instance_id} (any more)")
        return text

    def _list(
        self, node_ids: Iterable[str], tagged: list[process_table.Tagged] | None = None
    ) -> dict[str, tuple[base.Seen, ...]]:
        """What there is of these nodes. Only for those without a record must all processes be looked at."""
        found: dict[str, tuple[base.Seen, ...]] = {}
        for node_id in node_ids:
            record = self._record(node_id)
            found[node_id] = () if record is None else (self._seen(record),)
        missing = {node_id for node_id, listed in found.items() if not listed}
        if missing:
            oldest: dict[str, process_table.Tagged] = {}
            for one in self._ours(process_table.tagged("OCCO_NODE_ID") if tagged is None else tagged):
                oldest.setdefault(one.environment.get("OCCO_NODE_ID", ""), one)
            for node_id in missing & oldest.keys():
                record = self._record(node_id)  # it may have been made just now
                found[node_id] = (self._unrecorded(oldest[node_id]) if record is None else self._seen(record),)
        return found

    def _ours(self, tagged: Iterable[process_table.Tagged]) -> list[process_table.Tagged]:
        """Those of this root, oldest first; another installation on this host has another root."""
        ours = (one for one in tagged if one.environment.get("OCCO_ROOT") == self._root)
        return sorted(ours, key=lambda one: (one.process.start, one.process.session != one.process.pid))

    def _record(self, node_id: str) -> process_folders.Record | None:
        record = self._folders.record(node_id) if process_folders.is_valid(node_id) else None
        return record if record is not None and record.host == self._host else None

    def _seen(self, record: process_folders.Record) -> base.Seen:
        return base.Seen(
            node_id=record.node_id,
            infra_id=record.infra_id,
            instance_id=record.instance_id,
            addresses=(record.address,),
            **self._state(record),
        )

    def _state(self, record: process_folders.Record) -> dict[str, Any]:
        this_boot = record.boot == process_table.boot_id()
        if self._folders.dropping_since(record.node_id) is not None:
            return _is(status.NodeStatus.SHUTDOWN, "stopping", {"pid": record.pid}, time.time())
        if this_boot and process_table.is_running(record.pid, record.start):
            return _is(status.NodeStatus.READY, "running", {"pid": record.pid}, record.created)
        end = "is gone" if this_boot else "ended when the host did"
        detail = f"process {record.pid} {end}; `occo logs {record.node_id}` shows its output"
        return _is(status.NodeStatus.FAILED, "exited", {"detail": detail}, time.time())

    def _unrecorded(self, one: process_table.Tagged) -> base.Seen:
        """A process whose record was lost: it is listed as long as it runs."""
        node_id, process = one.environment["OCCO_NODE_ID"], one.process
        dropping = self._folders.dropping_since(node_id) is not None
        state = status.NodeStatus.SHUTDOWN if dropping else status.NodeStatus.READY
        return base.Seen(
            node_id=node_id,
            infra_id=one.environment.get("OCCO_INFRA_ID", ""),
            instance_id=process_folders.instance_id(node_id, process.pid, process.start),
            addresses=tuple(filter(None, [one.environment.get("OCCO_ADDRESS")])),
            **_is(state, "stopping" if dropping else "running", {"pid": process.pid}, time.time()),
        )

    # --- ending ---------------------------------------------------------------------------------------

    def drop(self, instance_id: str, timeout: float) -> None:
        """SIGTERM at first, SIGKILL once stop_grace has passed; what has ended is archived. See the base class."""
        self._require_here(errors.TransientError)
        node_id = process_folders.node_of(instance_id)
        if node_id is None:
            return
        with self._disk(errors.TransientError), self._folders.lock(node_id, timeout):
            record = self._record(node_id)
            if record is not None and record.instance_id != instance_id:
                return  # this node has another process: the one that is meant is gone, whoever has its pid now
            ended = process_end.press(self._folders, node_id, record, instance_id, self._options.stop_grace)
            # without a record the mark of the first drop tells that something of this node was signalled
            if ended and (record is not None or self._folders.dropping_since(node_id) is not None):
                self._addresses.end(node_id)
                self._folders.archive(node_id, self._options.keep)

    def forget(self, node_id: str) -> None:
        """Free the address. Raises TransientError while something runs that has it."""
        self._require_here(errors.TransientError)
        if not process_folders.is_valid(node_id):
            return
        with self._disk(errors.TransientError), self._folders.lock(node_id, FORGET_TIMEOUT):
            if any(process_end.members(self._folders, node_id, self._record(node_id))):
                raise errors.TransientError(f"{self.kind}: {node_id} still runs; drop it first")
            self._addresses.forget(node_id)
            self._folders.archive(node_id, self._options.keep)

    # --- what comes between a caller and what it wants ------------------------------------------------

    def _require_here(self, error: type[errors.ResourceError]) -> None:
        """Raises the error on a host that the account is not of: nothing can be known or done there."""
        if self._host != host_id():
            raise error(
                f"the processes under {self._root} run on host {self._host}, this worker on {host_id()}: "
                f"start a worker there"
            )

    @contextmanager
    def _disk(self, error: type[errors.ResourceError]) -> Iterator[None]:
        """Trouble with files and processes that nobody expected as the given error."""
        try:
            yield
        except OSError as problem:
            raise error(f"{self.kind}: {problem}") from problem


def _is(state: status.NodeStatus, code: str, arguments: Mapping[str, Any], since: float) -> dict[str, Any]:
    """State and reason of a Seen."""
    return {"state": state, "reason": status.Reason(code=code, arguments=arguments, since=since)}
