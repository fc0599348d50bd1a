"""Terraform as a peer: the binary where it is installed, with its built-in terraform_data, which needs no network."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

MISSING = "terraform is not installed here: nothing to compare with"


def flat(count: int) -> Mapping[str, Any]:
    """So many resources that know nothing of each other."""
    return {f"node_{number}": {"input": {"name": f"node-{number}"}} for number in range(count)}


def layered(levels: int, width: int) -> Mapping[str, Any]:
    """Each resource depends on three of the level before."""
    return {
        f"node_{level}_{place}": {
            "input": {"name": f"node-{level}-{place}"},
            "depends_on": [f"terraform_data.node_{level - 1}_{(place + step) % width}" for step in range(3)]
            if level
            else [],
        }
        for level in range(levels)
        for place in range(width)
    }


class Project:
    """A folder with a configuration, initialised."""

    def __init__(self, folder: pathlib.Path, binary: str) -> None:
        self._folder, self._binary = folder, binary
        self._run("init")

    def plan(self) -> float:
        return self._run("plan", "-detailed-exitcode")

    def apply(self) -> float:
        return self._run("apply", "-auto-approve", "-parallelism=50")

    def forget(self) -> None:
        """As if nothing had been applied yet."""
        for name in ("terraform.tfstate", "terraform.tfstate.backup"):
            (self._folder / name).unlink(missing_ok=True)

    def _run(self, *words: str) -> float:
        began = time.perf_counter()
        subprocess.run(
            [self._binary, *words, "-no-color", "-input=false"],
            cwd=self._folder,
            env={**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"},
            capture_output=True,
            check=True,
        )
        return time.perf_counter() - began


@contextlib.contextmanager
def project(resources: Mapping[str, Any]) -> Iterator[Project | None]:
    """A project with these terraform_data resources; None where there is no terraform."""
    binary = shutil.which("terraform")
    if binary is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="occo-bench-") as name:
        folder = pathlib.Path(name)
        (folder / "main.tf.json").write_text(json.dumps({"resource": {"terraform_data": resources}}))
        yield Project(folder, binary)
