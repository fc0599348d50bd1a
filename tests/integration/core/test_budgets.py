"""Budgets of cloud accounts through the real core: shared by workers, urgent work first, nothing lost."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest

from occo_celery import errors, settings
from occo_celery.api import accounts
from occo_celery.model import budget
from occo_celery.plugins.resourcehandler import simulated
from occo_celery.uds import operations
from tests.world import World

MakeWorld = Callable[..., World]
ACCOUNT = "simulated:*"


def with_budget(world: World, **limits: Any) -> World:
    """Both kinds of `t` are on one account."""
    system = world.system
    budgets = (budget.Budget(accounts=ACCOUNT, **limits),)
    system.settings = dataclasses.replace(system.settings, budgets=budgets)
    assert "infraprocessor" not in vars(system), "made already, with other budgets"
    return world


def flat(count: int) -> dict[str, Any]:
    return {"infra_name": "flat", "nodes": [{"name": "a", "type": "t", "scaling": {"min": count, "max": count + 5}}]}


def made_at(world: World) -> list[float]:
    return sorted(one.created for one in world.cloud.instances())


def test_creations_come_at_the_rate(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=2.0, burst=5)
    infra_id = world.manager.add(flat(20))
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 20, 120.0)
    times = made_at(world)
    for start in range(20):
        for end in range(start, 20):
            assert end - start + 1 <= 5 + 2.0 * (times[end] - times[start]) + 1e-6
    assert times[-1] - times[0] < 15.0, "and not much slower"


def test_what_waits_says_so_and_does_not_count_as_tried(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=0.1)
    infra_id = world.manager.add(flat(3))
    world.run(3.0)
    report = world.manager.report(infra_id)["a"]["instances"].values()
    waiting = [one for one in report if "waiting_for_budget" in one["reason"]]
    assert len(waiting) == 2
    (one,) = accounts.overview(world.system)
    assert (one.instances, one.budget) == (1, budget.Budget(accounts=ACCOUNT, rate=0.1))
    assert one.spent > 0
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3, 60.0)


def test_drops_go_before_creations(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=1.0, burst=5)
    first = world.manager.add(flat(4))
    world.run_until(lambda: world.states(first) == ["ready"] * 4, 60.0)
    world.run(10.0)
    world.manager.add(flat(40))
    world.run(2.0)
    world.manager.detach(first)
    world.manager.tear_down(first)
    began = world.time
    world.run_until(lambda: world.living(first) == [], 60.0)
    assert world.time - began < 15.0
    assert len(world.living()) < 40, "creations still wait"


def test_a_lost_instance_is_replaced_before_new_ones_are_made(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=1.0, burst=5)
    first = world.manager.add(flat(2))
    world.run_until(lambda: world.states(first) == ["ready"] * 2, 60.0)
    world.run(10.0)
    world.manager.add(flat(40))
    world.run(3.0)
    victim = world.living(first)[0]
    world.cloud.kill(victim.node_id)
    began = world.time
    world.run_until(lambda: world.states(first) == ["ready"] * 2 and len(world.living(first)) == 2, 60.0)
    assert world.time - began < 20.0
    assert len(world.living()) < 42, "new ones still wait"


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_at_work_than_allowed_however_many_workers(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    world = with_budget(make_world(), concurrency=limit)
    world.manager.add(flat(12))
    world.time += 1.0
    lock, inside, most = threading.Lock(), 0, 0
    create = simulated.SimulatedHandler.create

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return create(*arguments, **named)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(simulated.SimulatedHandler, "create", counted)
    world.deliver()  # the first pass
    processor = world.system.infraprocessor
    for _ in range(60):
        with world.system.store.read() as connection:
            (infra,) = world.manager.list()
            targets = [one.target for one in operations.of(connection, infra.infra_id)]
        if not targets:
            break
        threads = [threading.Thread(target=processor.perform, args=([one],)) for one in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.time += 2.0
    assert len(world.living()) == 12
    assert 1 <= most <= limit


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{accounts: 'ec2:*', rate: 5}", "budgets is a list"),
        ("[5]", r"budgets\[0\] is a mapping with `accounts`"),
        ("[{rate: 5}]", r"budgets\[0\] is a mapping with `accounts`"),
        ("[{accounts: 'ec2:*'}]", "neither concurrency nor rate"),
        ("[{accounts: 'ec2:*', rate: 0}]", r"budgets\[0\].rate is 0; a number above 0"),
        ("[{accounts: 'ec2:*', concurrency: 1.5}]", r"budgets\[0\].concurrency is 1.5; a whole number"),
        ("[{accounts: 'ec2:*', rate: true}]", r"budgets\[0\].rate is True"),
        ("[{accounts: 'ec2:*', rat: 5}]", r"unknown key budgets\[0\].rat; did you mean rate\?"),
    ],
)
def test_budgets_that_are_none(tmp_path: Any, written: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "logging: {version: 1}\ncomponents:\n  uds: !UDS {}\n  resourcehandler: !ResourceHandler {}\n"
        f"  configmanager: !ConfigManager {{}}\nbudgets: {written}\n"
    )
    with pytest.raises(errors.ConfigurationError, match=message):
        settings.load(path, environ={})
