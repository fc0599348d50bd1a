"""An interval that grows while an infrastructure is steady, through the real core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from occo_celery.api.manager import InfrastructureManager
from tests.integration.core.test_life import PAIR
from tests.world import World

MakeWorld = Callable[..., World]


@pytest.fixture(params=[{}, {"health_check": {"ping": False}, "config_management": {"type": "dummy"}}])
def steady(request: pytest.FixtureRequest, make_world: MakeWorld) -> tuple[World, str]:
    """Ready, and looked at once in 80 s."""
    world = make_world(boot_time=1.0)
    world.define(**request.param)
    world.manager = InfrastructureManager("parallel", longest_interval=80.0, system=world.system)
    infra_id = world.manager.add(PAIR)
    world.run(400.0)
    return world, infra_id


def test_the_longest_interval_is_not_shorter_than_the_interval(make_world: MakeWorld) -> None:
    with pytest.raises(ValueError, match="longest_interval is 20 s, less than the interval, 60 s"):
        InfrastructureManager(enactor_interval=60.0, longest_interval=20.0, system=make_world().system)


def passes(world: World, infra_id: str, seconds: float) -> int:
    before = world.manager.get(infra_id).passes
    world.run(seconds)
    return world.manager.get(infra_id).passes - before


def test_what_is_steady_is_looked_at_seldom(steady: tuple[World, str]) -> None:
    world, infra_id = steady
    assert world.states(infra_id) == ["ready"] * 3
    assert world.manager.get(infra_id).longest_interval == 80.0
    assert passes(world, infra_id, 400.0) == 5


def test_a_death_is_seen_at_the_latest_then_and_followed_closely(steady: tuple[World, str]) -> None:
    world, infra_id = steady
    victim = world.living()[0]
    world.cloud.kill(victim.node_id, listed=True)
    world.run_until(lambda: len(world.living()) == 2, 1.0)
    world.run_until(lambda: len(world.living()) == 3 and world.states(infra_id) == ["ready"] * 3, 85.0)
    assert passes(world, infra_id, 31.0) >= 2


def test_a_request_brings_the_interval_back_at_once(steady: tuple[World, str]) -> None:
    world, infra_id = steady
    world.manager.scale_up(infra_id, "a")
    world.run_until(lambda: len(world.living()) == 4 and world.states(infra_id) == ["ready"] * 4, 5.0)
    assert passes(world, infra_id, 31.0) >= 2


def test_it_does_not_grow_unless_asked_to(make_world: MakeWorld) -> None:
    world = make_world(boot_time=1.0)
    infra_id = world.manager.add(PAIR)
    world.run(100.0)
    assert passes(world, infra_id, 400.0) == 40
