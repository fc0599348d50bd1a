"""Installations of real processes, on each engine in turn."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.installation import Installation


@pytest.fixture
def make_installation(short_path: pathlib.Path, database_url: str) -> Iterator[Callable[..., Installation]]:
    made: list[Installation] = []

    def make(**options: Any) -> Installation:
        assert not made
        made.append(Installation(short_path, database_url, **options))
        return made[0]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def installation(make_installation: Callable[..., Installation]) -> Installation:
    """A running one: broker, both workers, beat."""
    one = make_installation()
    one.start_all()
    return one
