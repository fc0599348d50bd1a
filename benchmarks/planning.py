"""What an infrastructure of 1,000 nodes costs when nothing has changed.

plan_1000: `occo plan` as a command, beside `terraform plan` of 1,000 terraform_data resources. pass_1000_ms: one pass
over it in this process.
"""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Iterator

from benchmarks import measure, terraform
from benchmarks.place import OCCO, Place, place
from benchmarks.population import populate
from occo_celery.uds import infrastructures, schedule


def _command(here: Place, infra_id: str) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [*OCCO, "plan", infra_id], env=here.environment, capture_output=True, text=True, check=True, cwd=here.home
    )
    took = time.perf_counter() - began
    assert done.stdout.startswith("0 to create, 0 to drop"), done.stdout
    return took


def run(size: measure.Size) -> Iterator[measure.Figure]:
    nodes = size.of(1000, 20)
    with place() as here, terraform.project(terraform.flat(nodes)) as peer:
        (infra_id,) = populate(here, 1, nodes=nodes)
        if peer is not None:
            peer.apply()
        plans, peers = size.alternate(lambda: _command(here, infra_id), None if peer is None else peer.plan)
        yield measure.Figure(
            name="plan_1000",
            unit="s",
            runs=plans,
            peer="terraform plan",
            peer_runs=peers,
            bar=("ratio", "<=", 0.8),
            note="" if peers else terraform.MISSING,
        )
        for name, full in (("pass_1000_ms", False), ("pass_1000_full_ms", True)):
            runs = [1000 * one for one in size.repeat(functools.partial(_pass, here, infra_id, full))]
            note = "everything read and planned anew" if full else ""
            bar = None if full else ("value", "<=", 100.0)
            yield measure.Figure(name=name, unit="ms", runs=runs, bar=bar, note=note)


def _pass(here: Place, infra_id: str, full: bool) -> float:
    """Seconds of a pass that has fallen due, claimed as by beat."""
    system, _ = here.inline()
    with system.store.write() as connection:
        if full:
            infrastructures.change(connection, infra_id, ready_since=None)
        row = schedule.get(connection, infra_id)
        assert row is not None
        (claim,) = schedule.claim_due(connection, now=row.next_due, limit=1, token=system.new_id(), batch=1)
    began = time.perf_counter()
    assert system.enactor.run(claim) == 1
    took = time.perf_counter() - began
    system.store.close()
    return took


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
