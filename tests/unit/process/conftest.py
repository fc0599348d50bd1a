"""The world of each test; whatever a test leaves running is ended, by its root."""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.unit.process import world as worlds

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def make_world(tmp_path: pathlib.Path) -> Iterator[Callable[..., worlds.World]]:
    made: list[worlds.World] = []

    def make(**options: object) -> worlds.World:
        scratch = tmp_path.resolve() / f"scratch{len(made)}"
        scratch.mkdir()
        one = worlds.World(tmp_path.resolve() / f"processes{len(made)}", scratch, dict(options))
        made.append(one)
        return one

    yield make
    for one in made:
        worlds.wait_until(lambda one=one: (one.kill(), not one.running())[1], what="the end of the test's processes")


@pytest.fixture
def world(make_world: Callable[..., worlds.World]) -> worlds.World:
    return make_world()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that has nothing to do with any node."""
    with worlds.stranger() as process:
        yield process
        process.kill()


@pytest.fixture
def never_reaping() -> Iterator[None]:
    """Orphans become children of this process, which does not reap them: so it is in containers without an init."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
