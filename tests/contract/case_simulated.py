"""The simulated cloud in the contract suite: prompt, slow with stale lists, and without tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from occo_celery.plugins.resourcehandler import base, simulated
from tests.contract import cases

SLOW = {"boot_time": 0.1, "shutdown_time": 0.1, "stale": 1.5, "latency": 0.002}


@dataclasses.dataclass
class Clock:
    """Runs with the real one; settle moves it on so that no test has to wait for a stale list."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def settle(self) -> None:
        self.ahead += 2.0


def make_cases(tmp_path: pathlib.Path) -> list[cases.Case]:
    return [
        _case("simulated", simulated.SimulatedHandler, tmp_path, {}),
        _case("simulated_slow", simulated.SimulatedHandler, tmp_path, SLOW),
        _case("simulated_no_tokens", simulated.SimulatedWithoutTokens, tmp_path, SLOW),
    ]


def _case(
    name: str, handler: type[simulated.SimulatedHandler], tmp_path: pathlib.Path, behaviour: Mapping[str, Any]
) -> cases.Case:
    clock = Clock()
    section = {"type": handler.kind, "endpoint": name}
    options = {"database": str(tmp_path / "cloud.sqlite"), "behaviour": behaviour, "clock": clock}
    cloud = simulated.SimulatedCloud(tmp_path / "cloud.sqlite", name, clock=clock)

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(node_id=node_id, infra_id=infra_id, node_name="web", section={**section, **changed})

    def make_handler() -> base.ResourceHandler:
        return handler(handler.account(section, options), section, {}, options)

    @contextlib.contextmanager
    def throttle() -> Iterator[float]:
        cloud.set(throttled=7.0)
        yield 7.0
        cloud.set(throttled=0.0)

    @contextlib.contextmanager
    def lose_answer() -> Iterator[base.ResourceHandler]:
        cloud.set(timeout_rate=1.0)
        yield make_handler()
        cloud.set(timeout_rate=0.0)

    return cases.Case(
        name=name,
        make_handler=make_handler,
        creation=creation,
        vanish=cloud.kill,
        settle=clock.settle if behaviour else None,
        bad_creation=functools.partial(creation, image="missing"),
        cleanup=lambda: None,  # tmp_path is the cloud
        user_data_of=lambda node_id: cloud.instances(node_id)[0].user_data,
        throttle=throttle,
        lose_answer=lose_answer,
        why_not={"wrong_credentials": "it lets everybody in"},
    )
