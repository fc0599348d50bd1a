"""The daemon of this test process, emptied after each test."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, docker
from tests import docker_daemon

TIMEOUT = 10.0
ROOT = pathlib.Path(__file__).parents[3]


@dataclass(frozen=True)
class World:
    """The daemon, and what leads to it."""

    daemon: docker_daemon.Daemon
    section: dict[str, Any]

    def handler(
        self, auth: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None, **changed: Any
    ) -> docker.DockerHandler:
        section = {**self.section, **changed}
        account = docker.DockerHandler.account(section, {})
        return docker.DockerHandler(account, section, auth or {}, options or {})

    def creation(
        self,
        node_id: str,
        command: Sequence[str] | str | None = tuple(docker_daemon.SLEEPER),
        timeout: float = TIMEOUT,
        environment: Mapping[str, str] | None = None,
        user_data: str | None = None,
        **changed: Any,
    ) -> base.Creation:
        return base.Creation(
            node_id=node_id,
            infra_id="shop",
            node_name="web",
            section={**self.section, **changed},
            command=command,
            environment=environment or {},
            user_data=user_data,
            timeout=timeout,
        )


@pytest.fixture
def world() -> Iterator[World]:
    daemon = docker_daemon.daemon()
    section = {"type": "docker", "endpoint": daemon.endpoint, "image": docker_daemon.BUSYBOX, "origin": "local"}
    yield World(daemon, section)
    daemon.remove_all()


@pytest.fixture
def node_id() -> str:
    return f"node-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class Registry:
    """host: what images of it are called by. archive: the URL of its image as an archive."""

    host: str
    release: pathlib.Path

    @property
    def archive(self) -> str:
        return f"http://{self.host}/archive.tar"


def registry(tmp_path: pathlib.Path, before: Sequence[str], private: bool) -> Iterator[Registry]:
    release = tmp_path / "release"
    command = [sys.executable, "-m", "tests.docker_registry", str(release), "private" if private else "open"]
    with subprocess.Popen([*before, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Registry(f"127.0.0.1:{int(process.stdout.readline())}", release)
        finally:
            process.kill()


@pytest.fixture
def images(world: World, tmp_path: pathlib.Path) -> Iterator[Registry]:
    """A registry that the daemon reaches."""
    yield from registry(tmp_path, world.daemon.inside(), private=False)


@pytest.fixture
def private_images(world: World, tmp_path: pathlib.Path) -> Iterator[Registry]:
    """One that wants a login."""
    yield from registry(tmp_path, world.daemon.inside(), private=True)


@pytest.fixture
def archives(tmp_path: pathlib.Path) -> Iterator[Registry]:
    """One that workers reach."""
    yield from registry(tmp_path, [], private=False)
