"""Which python3.11 `make` takes: the first on PATH, unless another is much quicker."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Sequence

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / ".ci" / "quickest-python"


def chosen(home: pathlib.Path, answers: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """answers: what each of the interpreters on PATH says: its time, and its path."""
    folders = [home / str(number) for number in range(len(answers))]
    for folder, answer in zip(folders, answers, strict=True):
        folder.mkdir()
        (folder / "python3.11").write_text(f"#!/bin/sh\n{answer}\n")
        (folder / "python3.11").chmod(0o755)
    path = ":".join(map(str, [home / "not there", *folders]))
    return subprocess.run(["/bin/sh", str(SCRIPT)], env={"PATH": path}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("echo 1000:/one", "echo 1200:/two"), "/one"),
        (("echo 1000:/one", "echo 850:/two"), "/one"),
        (("echo 1000:/one", "echo 700:/two", "echo 690:/three"), "/two"),
        (("exit 1", "echo 1000:/with-a:colon"), "/with-a:colon"),
    ],
    ids=["the first", "not much quicker", "much quicker", "no ensurepip"],
)
def test_the_first_unless_another_is_much_quicker(
    answers: Sequence[str], expected: str, tmp_path: pathlib.Path
) -> None:
    assert chosen(tmp_path, answers).stdout == expected + "\n"


def test_without_any_it_says_what_to_do(tmp_path: pathlib.Path) -> None:
    ended = chosen(tmp_path, ["exit 1"])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "python3.11-venv" in ended.stderr
    assert "make PYTHON=" in ended.stderr
