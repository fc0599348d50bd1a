"""Docker in the contract suite: containers of a real daemon; see tests/docker_daemon.py."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, docker
from tests import docker_daemon
from tests.contract import cases

MARKS = [pytest.mark.system]


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    daemon = docker_daemon.daemon()
    section = {"type": "docker", "endpoint": daemon.endpoint, "image": docker_daemon.BUSYBOX, "origin": "local"}

    def make_handler() -> docker.DockerHandler:
        return docker.DockerHandler(docker.DockerHandler.account(section, {}), section, {}, {})

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

    return cases.Case(
        name="docker",
        make_handler=make_handler,
        creation=creation,
        vanish=vanish,
        settle=None,
        bad_creation=lambda node_id: creation(node_id, image="surely-no-such-image:1"),
        cleanup=daemon.remove_all,
    )
