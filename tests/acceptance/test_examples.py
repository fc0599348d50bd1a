"""The examples run by the commands that their documents name: as processes, in containers, on machines."""

from __future__ import annotations

import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence

import pytest

from occo_celery.api import importing
from occo_celery.encryption import Encryption
from tests import docker_daemon, machines
from tests.acceptance.installation import EXAMPLES

HOW_TOS = EXAMPLES.parent / "docs" / "how-to"
NAMES = ("shop", "workers", "pipeline")


def run(folder: pathlib.Path, name: str, cloud: str, before: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*before, sys.executable, "-W", "ignore", str(folder / "run.py"), name, cloud],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "orphans: 0" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_as_processes(name: str) -> None:
    run(EXAMPLES, name, "process")


@pytest.mark.system
@pytest.mark.parametrize("name", NAMES)
def test_as_containers(name: str, tmp_path: pathlib.Path) -> None:
    """At the daemon of the tests, whose busybox is that of this machine."""
    daemon = docker_daemon.daemon()
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    definitions = folder / name / "docker.yaml"
    text = definitions.read_text().replace("unix:///var/run/docker.sock", daemon.endpoint)
    definitions.write_text(text)
    with daemon.client() as client:
        client.tag(docker_daemon.BUSYBOX, "busybox", "1.36")
    try:
        run(folder, name, "docker", before=daemon.inside())
        assert daemon.containers() == []
    finally:
        daemon.remove_all()


@pytest.mark.system
@pytest.mark.parametrize("name", NAMES)
def test_as_machines(name: str) -> None:
    run(EXAMPLES, name, "machine", before=machines.inside())


def test_what_there_is_not_is_explained() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / "run.py"), "shop", "moon"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Examples: shop" in done.stderr


@pytest.mark.parametrize("path", sorted(HOW_TOS.glob("*.md")), ids=lambda path: path.stem)
def test_definitions_in_the_how_tos_can_be_imported(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    encryption = Encryption([base64.urlsafe_b64encode(os.urandom(32)).decode()])
    for block in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL):
        definitions = textwrap.dedent(block)
        if definitions.startswith("'node_def:"):
            (tmp_path / "definitions.yaml").write_text(definitions)
            assert importing.load(tmp_path / "definitions.yaml", encryption).definitions
