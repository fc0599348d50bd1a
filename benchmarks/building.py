"""From add() to all ready, through all the programs, on a cloud that takes no time; beside `terraform apply`.

build_flat_1000: nodes that know nothing of each other. build_dag_1000: ten levels, three dependencies a node.
chain_20_s, chain_20_boot_s: twenty in a row, each booting for no time, or for a second.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import measure, terraform
from benchmarks.place import Place, place

#: Seconds after which a build counts as failed.
LIMIT = 300.0


def describe(names: list[str], dependencies: list[list[str]]) -> dict[str, Any]:
    return {
        "infra_name": "built",
        "nodes": [{"name": one, "type": "server"} for one in names],
        "dependencies": dependencies,
    }


def flat(count: int) -> dict[str, Any]:
    return describe([f"node-{number}" for number in range(count)], [])


def layered(levels: int, width: int) -> dict[str, Any]:
    """As terraform.layered."""
    names = [[f"node-{level}-{number}" for number in range(width)] for level in range(levels)]
    return describe(
        [one for level in names for one in level],
        [
            [names[level][number], names[level - 1][(number + step) % width]]
            for level in range(1, levels)
            for number in range(width)
            for step in range(min(3, width))
        ],
    )


def chain(count: int) -> dict[str, Any]:
    names = [f"node-{number}" for number in range(count)]
    return describe(names, [[late, early] for early, late in itertools.pairwise(names)])


def _build(here: Place, description: dict[str, Any]) -> float:
    began = time.perf_counter()
    infra_id = here.manager.add(description)
    here.manager.get(infra_id).wait_ready(LIMIT)
    took = time.perf_counter() - began
    here.manager.detach(infra_id)  # what is detached costs nothing
    return took


def run(size: measure.Size) -> Iterator[measure.Figure]:
    levels, width = size.of(10, 2), size.of(100, 3)
    with place() as here:
        for words in (("worker", "passes"), ("worker", "instructions"), ("beat",)):
            here.start(*words)
        _build(here, chain(2))  # the programs have come up
        shapes: dict[str, tuple[dict[str, Any], Any]] = {
            "build_flat_1000": (flat(levels * width), terraform.flat(levels * width)),
            "build_dag_1000": (layered(levels, width), terraform.layered(levels, width)),
        }
        for name, (description, resources) in shapes.items():
            with terraform.project(resources) as peer:
                ours, peers = size.alternate(functools.partial(_build, here, description), _applying(peer))
            yield measure.Figure(
                name=name,
                unit="s",
                runs=ours,
                peer="terraform apply",
                peer_runs=peers,
                bar=("ratio", "<=", 0.25),
                note="" if peers else terraform.MISSING,
            )
        for name, boot, limit in (("chain_20_s", 0.0, 0.8), ("chain_20_boot_s", 1.0, 24.0)):
            here.cloud.set(boot_time=boot)
            runs = size.repeat(functools.partial(_build, here, chain(size.of(20, 3))))
            yield measure.Figure(name=name, unit="s", runs=runs, bar=("value", "<=", limit))


def _applying(peer: terraform.Project | None) -> Callable[[], float] | None:
    if peer is None:
        return None

    def apply() -> float:
        peer.forget()
        return peer.apply()

    return apply


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
