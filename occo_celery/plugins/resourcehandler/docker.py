"""The resource handler `docker`: containers of one Docker daemon, through the Docker SDK for Python.

Made by resourcehandler.clouds, used by the enactor and the infraprocessor. Its helpers: docker_section (keys of the
section and credentials, names of accounts), docker_listing (what a container is to us), docker_images (getting images
to the daemon), docker_errors (what its errors mean).

One container a node_id, because its name is made of it and names are unique. A name is free again when its container
is gone, so a node that was dropped leaves a mark, an empty volume: what a late call makes then is never started, and
removed by that call, or by the sweep if the caller dies between.

Options (this handler's part of the configuration): see Options.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import docker
import pydantic
from docker import errors as sdk_errors

from occo_celery import errors
from occo_celery.plugins.resourcehandler import (
    base,
    docker_errors,
    docker_images,
    docker_listing,
    docker_section,
    timed_clients,
)

#: What a container is called: this and the node_id.
PREFIX = "occo-"
#: The volume that marks a node as dropped, and the label that says since when, seconds since the epoch.
MARK_PREFIX, DROPPED_AT = "occo-dropped-", "occo_dropped_at"
#: Seconds that a mark is kept after its node was archived, and between looks at which marks are that old.
KEPT, TIDYING = 3600.0, 60.0
#: Seconds that forget may take.
FORGET_TIMEOUT = 10.0
#: Connections that a client keeps for threads that call at the same time.
CONNECTIONS = 32
#: The state of a container that was never started.
CREATED = "created"
#: Docker's names.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}")


class Options(pydantic.BaseModel):
    """stop_grace: seconds from the stop signal to the removal of a container that does not heed it."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    stop_grace: float = pydantic.Field(default=10.0, ge=0)


class DockerHandler(base.ResourceHandler):
    """One Docker daemon."""

    # settle: a daemon under load may still carry out what its caller no longer waits for. Its lists are always true.
    traits = base.Traits(idempotent=True, settle=30.0, absence_grace=0.0)
    schema = docker_section.DockerSection

    @classmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        return docker_section.account(section)

    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        try:
            self._options = Options.model_validate(dict(options))
        except pydantic.ValidationError as problem:
            raise errors.ConfigurationError(f"resourcehandler docker: {problem}") from problem
        self._endpoint = str(section["endpoint"])
        self._host = docker_section.host(self._endpoint)
        self._clients = timed_clients.TimedClients(self._connect, self._endpoint)
        self._images = docker_images.Images(self._connect, docker_section.credentials(account, auth))
        self._lock = threading.Lock()
        self._tidied = time.monotonic()

    # --- making ---------------------------------------------------------------------------------------

    def create(self, creation: base.Creation) -> base.Seen:
        section = docker_section.valid(creation.section)
        if creation.user_data:
            raise errors.PermanentError(
                "docker: containers have no cloud-init; use contextualisation of type docker (env, command)"
            )
        deadline, secrets = time.monotonic() + creation.timeout, _secrets(creation)
        with docker_errors.translated(write=True, secrets=secrets):
            container, state = self._make(creation, section, deadline)
        refusal = None
        with docker_errors.translated(write=True, secrets=secrets, begun=True):
            if self._dropped_at(creation.node_id, deadline) is not None:
                self._withdraw(container, deadline)
                raise errors.PermanentError(f"docker: {creation.node_id} was dropped; it is not made again")
            if state == CREATED:  # what has ended since an earlier call does not run a second time
                refusal = self._start(container, secrets, deadline)
            found = [] if refusal else self._containers({"id": container}, deadline, errors.OutcomeUnknown)
        if refusal is not None:
            raise refusal
        if not found:
            raise errors.OutcomeUnknown(f"docker: container {container} was removed while it started")
        return docker_listing.seen(found[0], self._host, time.time())

    def _make(
        self, creation: base.Creation, section: docker_section.DockerSection, deadline: float
    ) -> tuple[str, str]:
        """The id and state of the node's container: made, not started, or from an earlier call."""
        try:
            return self._new_or_earlier(creation, section, deadline)
        except sdk_errors.ImageNotFound:
            self._images.fetch(section)
        return self._new_or_earlier(creation, section, deadline)

    def _new_or_earlier(
        self, creation: base.Creation, section: docker_section.DockerSection, deadline: float
    ) -> tuple[str, str]:
        client = self._clients.get(deadline, errors.TransientError)
        name = _name(PREFIX, creation.node_id)
        labels = {
            docker_listing.NODE_ID: creation.node_id,
            docker_listing.INFRA_ID: creation.infra_id,
            docker_listing.NODE_NAME: creation.node_name,
        }
        try:
            made = client.create_container(
                section.reference(),
                command=_command(creation.command),
                environment=dict(creation.environment),
                name=name,
                labels=labels,
                host_config=client.create_host_config(network_mode=section.network_mode or "default"),
                use_config_proxy=False,
            )
        except sdk_errors.APIError as problem:
            if problem.status_code != 409:
                raise
            return self._earlier(name, creation.node_id, deadline)
        return str(made["Id"]), CREATED

    def _earlier(self, name: str, node_id: str, deadline: float) -> tuple[str, str]:
        """The container that has the name."""
        try:
            found = self._clients.get(deadline, errors.TransientError).inspect_container(name)
        except sdk_errors.NotFound as problem:
            words = f"docker: container {name} is just being made or removed by another call"
            raise errors.TransientError(words) from problem
        if _labels(found).get(docker_listing.NODE_ID) != node_id:
            raise errors.PermanentError(f"docker: another container is called {name}; it was not made by us")
        return str(found["Id"]), str(found["State"]["Status"])

    def _start(self, container: str, secrets: Sequence[str], deadline: float) -> errors.ResourceError | None:
        """Why it cannot be started, if it has been removed again for that; None if it was started."""
        try:
            self._clients.get(deadline, errors.OutcomeUnknown).start(container)
        except sdk_errors.APIError as problem:
            if not self._withdraw(container, deadline):
                raise
            return docker_errors.refused(problem, secrets)
        return None

    def _withdraw(self, container: str, deadline: float) -> bool:
        """Remove a container that does not run. False: it does, because others have started it, and is left alone."""
        try:
            self._clients.get(deadline, errors.OutcomeUnknown).remove_container(container, v=True)
        except sdk_errors.APIError as problem:
            if problem.status_code not in (404, 409):
                raise
            return bool(problem.status_code == 404)
        return True

    # --- ending ---------------------------------------------------------------------------------------

    def drop(self, instance_id: str, timeout: float) -> None:
        """The stop signal first, once; removal when it has ended, or has not heeded the signal for too long."""
        deadline = time.monotonic() + timeout
        with docker_errors.translated(write=True):
            try:
                container = self._clients.get(deadline, errors.TransientError).inspect_container(instance_id)
                if self._has_had_its_time(container, deadline):
                    client = self._clients.get(deadline, errors.TransientError)
                    client.remove_container(container["Id"], v=True, force=True)
            except sdk_errors.APIError as problem:
                # 409: it has ended before the signal, or its removal is in progress
                if problem.status_code not in (404, 409):
                    raise

    def _has_had_its_time(self, container: Mapping[str, Any], deadline: float) -> bool:
        """Marks the node as dropped and tells the container to end, if nobody has yet."""
        node_id = _labels(container).get(docker_listing.NODE_ID, "")
        if container["Name"] != f"/{_name(PREFIX, node_id)}":
            return True  # a stray that bears our labels: the node of that id is another container
        since = self._dropped_at(node_id, deadline)
        if since is None:
            self._mark(node_id, deadline)
        if not container["State"]["Running"]:
            return True
        if since is None:
            signal = container["Config"].get("StopSignal") or "SIGTERM"
            self._clients.get(deadline, errors.TransientError).kill(container["Id"], signal=signal)
            return False
        return time.time() - since >= self._options.stop_grace

    def _mark(self, node_id: str, deadline: float) -> None:
        """From here on the node is not made again. A mark that is there already stays as it is."""
        client = self._clients.get(deadline, errors.TransientError)
        client.create_volume(_name(MARK_PREFIX, node_id), labels={DROPPED_AT: f"{time.time():.3f}"})

    def _dropped_at(self, node_id: str, deadline: float) -> float | None:
        """Since when a node is marked as dropped, seconds since the epoch."""
        client = self._clients.get(deadline, errors.OutcomeUnknown)
        try:
            return _marked_at(client.inspect_volume(_name(MARK_PREFIX, node_id)))
        except sdk_errors.NotFound:
            return None

    def forget(self, node_id: str) -> None:
        """Keeps the mark for a while, also of what vanished without a drop, and removes those that are old."""
        deadline = time.monotonic() + FORGET_TIMEOUT
        with docker_errors.translated(write=True):
            self._mark(node_id, deadline)
            with self._lock:
                due = time.monotonic() - self._tidied >= TIDYING
                if due:
                    self._tidied = time.monotonic()
            if due:
                self._tidy(deadline)

    def _tidy(self, deadline: float) -> None:
        listed = self._clients.get(deadline, errors.TransientError).volumes(filters={"label": DROPPED_AT})["Volumes"]
        for volume in listed or ():
            if time.time() - _marked_at(volume) >= KEPT:
                try:
                    self._clients.get(deadline, errors.TransientError).remove_volume(volume["Name"])
                except sdk_errors.NotFound:
                    continue  # another worker was quicker

    # --- looking --------------------------------------------------------------------------------------

    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[base.Seen, ...]]:
        """Labels can only be asked for all at once, not one or another: one call lists all that is ours."""
        found: dict[str, tuple[base.Seen, ...]] = dict.fromkeys(node_ids, ())
        if found:
            for one in self._listed(docker_listing.NODE_ID, timeout):
                if one.node_id in found:
                    found[one.node_id] += (one,)
        return found

    def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
        label = docker_listing.INFRA_ID
        return tuple(self._listed(docker_listing.NODE_ID if infra_id is None else f"{label}={infra_id}", timeout))

    def logs(self, instance_id: str, lines: int, timeout: float) -> str:
        """Both outputs of the container, as far as its logging driver keeps them."""
        with docker_errors.translated(write=False):
            client = self._clients.get(time.monotonic() + timeout, errors.CloudSilent)
            text: bytes = client.logs(instance_id, tail=max(lines, 0))
        return "\n".join(text.decode("utf-8", "replace").splitlines()[-lines:] if lines > 0 else ())

    def _listed(self, label: str, timeout: float) -> Iterable[base.Seen]:
        with docker_errors.translated(write=False):
            containers = self._containers({"label": label}, time.monotonic() + timeout, errors.CloudSilent)
        now = time.time()
        return [docker_listing.seen(each, self._host, now) for each in containers]

    def _containers(
        self, filters: Mapping[str, str], deadline: float, late: type[errors.ResourceError]
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._clients.get(deadline, late).containers(all=True, filters=dict(filters))
        return found

    def _connect(self, limit: int) -> Any:
        """A client whose calls may be silent for so many seconds. It asks for the daemon's version at once, which is
        only a look: what goes wrong with that has changed nothing."""
        with docker_errors.translated(write=False):
            return docker.APIClient(base_url=self._endpoint, version="auto", timeout=limit, max_pool_size=CONNECTIONS)


def _labels(container: Mapping[str, Any]) -> Mapping[str, str]:
    """Of a container as it is inspected."""
    return container["Config"].get("Labels") or {}


def _marked_at(volume: Mapping[str, Any]) -> float:
    return float((volume.get("Labels") or {}).get(DROPPED_AT) or 0.0)


def _name(prefix: str, node_id: str) -> str:
    """A name that the node has for itself."""
    return prefix + (node_id if _NAME.fullmatch(node_id) else hashlib.sha256(node_id.encode()).hexdigest())


def _command(command: Sequence[str] | str | None) -> list[str] | None:
    """Words, as the SDK would split them. Raises PermanentError."""
    if not isinstance(command, str):
        return None if command is None else [str(word) for word in command]
    try:
        return shlex.split(command)
    except ValueError as problem:
        raise errors.PermanentError(f"docker: the command cannot be split into words: {problem}") from None


def _secrets(creation: base.Creation) -> list[str]:
    """What no error may show: values of variables and arguments, of which any may be a secret. The program itself,
    which is what daemons complain of, is none."""
    return [*map(str, creation.environment.values()), *(_command(creation.command) or ())[1:]]
