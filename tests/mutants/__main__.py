"""Takes each guard out of a copy of the code, one at a time, and sees which test finds that: ``make mutants``.

Prints a line a mutant with the first test that failed. Exit code 1 if one survives or a patch does not fit any more.
Arguments: words of names or guards of the mutants that are to be tried; all by default.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent import futures

from tests.mutants.patches import MUTANTS, Mutant

ROOT = pathlib.Path(__file__).parents[2]
COPIED = ("occo_celery", "tests", "workers", "configs", "examples", "setup.cfg")
#: Seconds for one hunt; a mutant that makes tests hang is found too.
PATIENCE = 300


def main(words: Sequence[str]) -> int:
    chosen = [one for one in MUTANTS if not words or any(word in (one.guard, *one.name.split()) for word in words)]
    with futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(pool.map(_tried, chosen))
    survived = [mutant for mutant, finder in zip(chosen, found, strict=True) if finder is None]
    for mutant in survived:
        print(f"SURVIVED  guard {mutant.guard}: {mutant.name}")
    print(f"mutants: {len(chosen)}, found: {len(chosen) - len(survived)}, survived: {len(survived)}")
    return 1 if survived or not chosen else 0


def _tried(mutant: Mutant) -> str | None:
    """The first test that finds a mutant."""
    with tempfile.TemporaryDirectory(prefix="occo-mutant-") as folder:
        copy = pathlib.Path(folder)
        _copy(copy)
        path = copy / "occo_celery" / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            print(f"{mutant.file} has changed, this patch does not fit any more: {mutant.name}", flush=True)
            return None
        path.write_text(text.replace(mutant.old, mutant.new))
        finder = next((one for file, names in mutant.hunts if (one := _hunt(copy, file, names))), None)
    if finder is not None:
        print(f"found     guard {mutant.guard}: {mutant.name}\n          by {finder}", flush=True)
    return finder


def _copy(folder: pathlib.Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def _hunt(copy: pathlib.Path, file: str, names: str) -> str | None:
    """The first test that fails on the mutant; None if all pass. A hunt without tests is a mistake of the patch."""
    words = f"({names}) and not postgresql" if names else "not postgresql"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file, "-k", words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "HYPOTHESIS_PROFILE": "ci"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode != 1 or not failed:
        print(f"{file} -k '{words}': pytest ended with {done.returncode}\n{done.stdout}{done.stderr}", flush=True)
        return None
    return failed[0].split(" ", 1)[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
