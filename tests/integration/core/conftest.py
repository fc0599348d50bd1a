"""A world on each engine."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from occo_celery.uds.store import Store
from tests.world import World


@pytest.fixture
def make_world(store: Store, database_url: str, tmp_path: pathlib.Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**options: Any) -> World:
        world = World(database_url, tmp_path, **options)
        worlds.append(world)
        world.define()
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """Another process's way to the same database."""
    other = Store(store.url.render_as_string(hide_password=False))
    yield other
    other.close()
