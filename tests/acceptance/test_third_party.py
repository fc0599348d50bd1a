"""A resource handler in another package, as docs/how-to/write-a-resource-handler.md tells: found, checked, used."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.acceptance.installation import EXAMPLES

ROOT = EXAMPLES.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example package is installed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("third-party")
    source = folder / "source"  # building leaves things behind
    shutil.copytree(EXAMPLES / "handler-package", source)
    target = folder / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, timeout=120)
    return {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{ROOT}", "OCCO_HOME": str(folder / "home")}


def test_it_passes_the_contract_suite(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/contract", "-k", "shelf", "-q", "-p", "no:cacheprovider"],
        env={**environment, "OCCO_CONTRACT_CASES": "shelf.contract_case"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) >= 20, done.stdout


def test_its_sections_are_checked_and_shown_to_editors(environment: dict[str, str], tmp_path: pathlib.Path) -> None:
    def occo(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "occo_celery.cli.main", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    definition = tmp_path / "definition.yaml"
    definition.write_text("'node_def:book':\n  - resource: {type: shelf, folder: /tmp, sise: 2}\n")
    done = occo("import", str(definition))
    assert done.returncode != 0
    assert "sise" in done.stderr
    assert "size" in done.stderr
    assert "folder" in json.dumps(json.loads(occo("schema", "definitions").stdout))
