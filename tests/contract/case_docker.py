"""Docker in the contract suite: containers of a real daemon; see tests/docker_daemon.py."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, docker
from tests import cut_off, docker_daemon
from tests.contract import cases

MARKS = [pytest.mark.system]


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    daemon = docker_daemon.daemon()
    section = {"type": "docker", "endpoint": daemon.endpoint, "image": docker_daemon.BUSYBOX, "origin": "local"}

    def make_handler(**changed: str) -> docker.DockerHandler:
        told = {**section, **changed}
        return docker.DockerHandler(docker.DockerHandler.account(told, {}), told, {}, {})

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(
            node_id=node_id,
            infra_id=infra_id,
            node_name="web",
            section={**section, **changed},
            command=docker_daemon.SLEEPER,
        )

    def vanish(node_id: str) -> None:
        with daemon.client() as client:
            client.remove_container(f"occo-{node_id}", force=True)

    @contextlib.contextmanager
    def lose_answer() -> Iterator[base.ResourceHandler]:
        place = daemon.folder / "cut-off.sock"
        with cut_off.cut_off(daemon.socket, place, b"/containers/create"):
            yield make_handler(endpoint=f"unix://{place}")

    return cases.Case(
        name="docker",
        make_handler=make_handler,
        creation=creation,
        vanish=vanish,
        settle=None,
        bad_creation=lambda node_id: creation(node_id, image="surely-no-such-image:1"),
        cleanup=daemon.remove_all,
        lose_answer=lose_answer,
        why_not={
            "throttle": "a daemon refuses nobody for asking often; registries do, see tests/integration/docker",
            "wrong_credentials": "a daemon asks for none; registries do, see tests/integration/docker",
        },
    )
