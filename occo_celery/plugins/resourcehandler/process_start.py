"""Makes a running process of a Creation: what to start, with which environment, and starting it. Used by process.py.

A worker must not fork itself (it has threads, and handlers of its own for signals), so it runs
process_launcher.py, which forks and becomes the command.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pydantic

from occo_celery import errors
from occo_celery.plugins.resourcehandler import base, process_folders, process_launcher, process_table, sections

#: All that a process inherits: the worker's environment may hold the installation's secrets.
INHERITED = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")
#: What the launcher's interpreter may need to start at all; the process does not get it.
_FOR_PYTHON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
#: Starting failed for want of something that may be there later.
_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.ENOSPC, errno.EDQUOT}

_REFERENCE = re.compile(r"\$(?:\{(OCCO_[A-Z_]+)\}|(OCCO_[A-Z_]+))")


class ProcessSection(pydantic.BaseModel):
    """The ``resource`` section of a process.

    command: an argument vector, or a text that is split as a shell would, but no shell runs it. In it and in the
    values of environment, ``$OCCO_ADDRESS`` and the other names of own_environment stand for their values. Every user
    of the host can read it: secrets belong in environment.
    working_directory: absolute; without one, an empty folder of the node's own.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["process"]
    name: str | None = None
    command: str | list[str] = sections.public(
        "every user of the host can read it (`ps`); hand secrets over in `environment`", min_length=1
    )
    environment: dict[str, str] = {}
    working_directory: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_for_all_to_see(self) -> ProcessSection:
        sections.no_secrets(self)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is to be started. environment may hold secrets."""

    executable: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str


def section_of(section: Mapping[str, Any]) -> ProcessSection:
    """The rendered section; rendering may have broken it. Raises PermanentError, without values."""
    return sections.valid(ProcessSection, section, "process")


def own_environment(root: str, creation: base.Creation, address: str) -> dict[str, str]:
    """What the handler tells each process, and what it is found by; nothing else can set these names."""
    folder = os.path.join(root, creation.node_id)
    return {
        "OCCO_ROOT": root,
        "OCCO_NODE_ID": creation.node_id,
        "OCCO_INFRA_ID": creation.infra_id,
        "OCCO_NODE_NAME": creation.node_name,
        "OCCO_ADDRESS": address,
        "OCCO_CONTEXT_FILE": os.path.join(folder, process_folders.CONTEXT),
        "OCCO_ATTRIBUTES_FILE": os.path.join(folder, process_folders.ATTRIBUTES),
    }


def plan(root: str, creation: base.Creation, address: str) -> Launch:
    """What to start; everything that can be checked beforehand is. Raises PermanentError."""
    section = section_of(creation.section)
    own = own_environment(root, creation, address)
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    given = {name: _expanded(value, own) for name, value in {**section.environment, **creation.environment}.items()}
    variables = {"PATH": os.defpath, "LANG": "C.UTF-8", **inherited, **given, **own}
    arguments = [_expanded(argument, own) for argument in _split(section.command)]
    _no_nonsense(arguments, variables)
    directory = _directory(section, os.path.join(root, creation.node_id, process_folders.WORK))
    executable = _executable(arguments[0], variables["PATH"], directory)
    return Launch(executable=executable, arguments=arguments, environment=variables, directory=directory)


def _expanded(text: str, own: Mapping[str, str]) -> str:
    """Only our own names: ``$$`` and ``$HOME`` belong to shells that a command may run, and to passwords."""
    return _REFERENCE.sub(lambda match: own.get(match[1] or match[2], match[0]), text)


def _split(command: str | Sequence[str]) -> list[str]:
    try:
        arguments = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as problem:
        raise errors.PermanentError(f"process: command: {problem}") from problem
    if not arguments or not arguments[0]:
        raise errors.PermanentError("process: command is empty")
    return arguments


def _no_nonsense(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """What no process can be given. Raises PermanentError; values may be secrets and stay out of it."""
    if any("\0" in argument for argument in arguments):
        raise errors.PermanentError("process: command has a NUL character in it")
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise errors.PermanentError(f"process: environment: {name!r} is no name, or has a NUL character in it")


def _directory(section: ProcessSection, default: str) -> str:
    if section.working_directory is None:
        return default
    directory = os.path.expanduser(section.working_directory)
    if not os.path.isabs(directory):
        raise errors.PermanentError("process: working_directory must be an absolute path")
    if not os.path.isdir(directory):
        raise errors.PermanentError("process: working_directory does not exist on this host")
    if not os.access(directory, os.X_OK):
        raise errors.PermanentError("process: working_directory cannot be entered")
    return directory


def _executable(command: str, path: str, directory: str) -> str:
    """Where the command is. One with a slash is taken from the working directory, others are looked for in PATH.

    Raises PermanentError, without the values: a template may have put a secret into any of them.
    """
    if "/" in command:
        place = os.path.join(directory, command)
        if not os.path.isfile(place):
            raise errors.PermanentError("process: command: there is no such file on this host")
        if not os.access(place, os.X_OK):
            raise errors.PermanentError("process: command: the file is not executable")
        return place
    found = shutil.which(command, path=path)
    if found is None:
        raise errors.PermanentError("process: command: no program of that name is in PATH on this host")
    return os.path.abspath(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why starting did not go as it should. recorded: its process has a record, and no command."""

    error: errors.ResourceError
    recorded: bool = False


class Launcher:
    """Runs the launcher. kind: the first word of errors; script: tests put another there that dies at a step."""

    script = process_launcher.__file__

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def start(self, launch: Launch, folder: str, record: Mapping[str, Any], deadline: float) -> Trouble | None:
        """Start a process, unless the folder has a record already. Whether it has one afterwards is what counts.

        record: what the record is to hold beside pid, start and created. deadline: on the monotonic clock; later,
        nothing is started any more.
        """
        spec = {
            "executable": launch.executable,
            "arguments": list(launch.arguments),
            "environment": dict(launch.environment),
            "directory": launch.directory,
            "folder": folder,
            "record": dict(record),
            "deadline": deadline,
        }
        try:
            reader, writer = os.pipe()
        except OSError as problem:
            return Trouble(error=errors.TransientError(f"{self._kind}: the launcher cannot be started: {problem}"))
        try:
            try:
                trouble = self._run(json.dumps(spec).encode("ascii"), writer, deadline)
            finally:
                os.close(writer)
            return trouble or self._trouble(_read(reader, deadline))
        finally:
            os.close(reader)

    def _run(self, spec: bytes, writer: int, deadline: float) -> Trouble | None:
        """Until the launcher has forked, or died."""
        flags = ["-I", "-S"] if process_table.LINUX else ["-I"]
        variables = {name: os.environ[name] for name in _FOR_PYTHON if name in os.environ}
        try:
            launcher = subprocess.Popen(
                [sys.executable, *flags, self.script, str(writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writer,),
                cwd="/",
                env={"LC_ALL": "C.UTF-8", **variables},
                start_new_session=True,  # what a terminal sends to the worker is not for it
            )
        except OSError as problem:
            return Trouble(error=errors.TransientError(f"{self._kind}: the launcher cannot be started: {problem}"))
        with launcher:
            try:
                launcher.communicate(spec, timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                launcher.kill()
                return Trouble(
                    error=errors.OutcomeUnknown(f"{self._kind}: the launcher did not come to its end in time")
                )
        return None

    def _trouble(self, told: bytes | None) -> Trouble | None:
        """What the launcher tells, if anything."""
        if told is None:
            words = f"{self._kind}: it is not known in time whether it was started"
            return Trouble(error=errors.OutcomeUnknown(words))
        if not told:  # it became the command, or was killed
            return None
        trouble = json.loads(told)
        message = f"{self._kind}: the command cannot be started: {trouble['error']}"
        if trouble["recorded"] and trouble["errno"] not in _PASSING:
            return Trouble(error=errors.PermanentError(message), recorded=True)
        return Trouble(error=errors.TransientError(message), recorded=trouble["recorded"])


def _read(reader: int, deadline: float) -> bytes | None:
    """All that the launcher tells, until nothing of it is left; None if that takes too long."""
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    told = b""
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(reader, 65536)
        if not part:
            return told
        told += part
    return None
