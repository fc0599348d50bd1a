"""From the text of a description to what is stored: 5,000 nodes with 15,000 dependencies, and twice as many."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import yaml

from benchmarks import measure
from benchmarks.place import DEFINITIONS
from occo_celery.compiler import compile as compiler


def text(nodes: int) -> str:
    """A description with three dependencies a node, on nodes before it."""
    rng = random.Random(nodes)
    names = [f"node-{number}" for number in range(nodes)]
    pairs = [[names[late], names[early]] for late in range(3, nodes) for early in rng.sample(range(late), 3)]
    described = {
        "infra_name": "large",
        "nodes": [{"name": name, "type": "server", "scaling": {"min": 1, "max": 3}} for name in names],
        "dependencies": pairs,
    }
    return yaml.safe_dump(described)


def run(size: measure.Size) -> Iterator[measure.Figure]:
    known = {"server": DEFINITIONS["node_def:server"]}

    def seconds(what: str) -> float:
        began = time.perf_counter()
        compiler.compile_description(what, infra_id="i", definitions=known).description.to_json()
        return time.perf_counter() - began

    small, large = (text(size.of(nodes, nodes // 50)) for nodes in (5000, 10_000))
    twice, runs = size.alternate(lambda: seconds(large), lambda: seconds(small))
    yield measure.Figure(name="compile_5000_s", unit="s", runs=runs, bar=("value", "<=", 1.0))
    yield measure.Figure(
        name="compile_linear",
        unit="s",
        runs=twice,
        peer="half as many nodes",
        peer_runs=runs,
        bar=("ratio", "<=", 2.3),
    )


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
