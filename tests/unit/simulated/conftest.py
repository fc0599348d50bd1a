"""A simulated cloud under a clock and dice of the test's own."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, simulated


class Clock:
    """Stands still unless it is moved; sleeping moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Dice(random.Random):
    """Always throws the same number, so that a rate above it happens and one below does not."""

    thrown = 0.5

    def random(self) -> float:
        return self.thrown


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "cloud" / "simulated.sqlite"


@pytest.fixture
def cloud(path: pathlib.Path, clock: Clock) -> simulated.SimulatedCloud:
    return simulated.SimulatedCloud(path, clock=clock)


@pytest.fixture
def make_handler(path: pathlib.Path, clock: Clock) -> Callable[..., simulated.SimulatedHandler]:
    def make(
        kind: type[simulated.SimulatedHandler] = simulated.SimulatedHandler, endpoint: str = "default", **options: Any
    ) -> simulated.SimulatedHandler:
        section = {"type": kind.kind, "endpoint": endpoint}
        options = {"database": path, "clock": clock, "sleep": clock.sleep, "random": Dice(), **options}
        return kind(kind.account(section, options), section, {}, options)

    return make


@pytest.fixture
def handler(make_handler: Callable[..., simulated.SimulatedHandler]) -> simulated.SimulatedHandler:
    return make_handler()


@pytest.fixture
def creation() -> Callable[..., base.Creation]:
    def make(node_id: str = "n1", infra_id: str = "infra-1", **section: Any) -> base.Creation:
        timeout = section.pop("timeout", 20.0)
        user_data = section.pop("user_data", None)
        section = {"type": "simulated", **section}
        return base.Creation(
            node_id=node_id, infra_id=infra_id, node_name="web", section=section, user_data=user_data, timeout=timeout
        )

    return make
