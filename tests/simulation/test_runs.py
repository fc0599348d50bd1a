"""The simulation itself: it holds on good seeds, repeats itself exactly, and finds each guard that is taken out."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from occo_celery.model.status import NodeStatus, Reason
from occo_celery.planner import assess, plan, scaling
from occo_celery.plugins.resourcehandler import base
from occo_celery.simulation import cloud, faults, runs, world
from occo_celery.uds import operations, requests

MINUTES = 30.0
#: Runs in which a guard that was taken out must be missed; most are within the first few.
MOST = 120


@pytest.mark.parametrize("mode", runs.MODES)
@pytest.mark.parametrize("seed", range(3))
def test_a_run_without_violations(seed: int, mode: str) -> None:
    result = world.World(seed, mode, MINUTES).run()
    assert result.violations == ()
    assert result.virtual > 1200
    assert result.steps > 500


def test_a_seed_is_one_run() -> None:
    first, second = (world.World(11, "tokens", MINUTES).run() for _ in range(2))
    assert first == second
    assert world.World(12, "tokens", MINUTES).run().trace != first.trace


def test_a_seed_is_one_run_in_every_process() -> None:
    (other,) = runs.spread([11], "tokens", MINUTES, 1)
    (again,) = runs.spread([11], "tokens", MINUTES, 1)
    assert other == again


def _nothing_missing(*_: Any) -> None:
    return None


def _kept(connection: Any, asked: Any) -> bool:
    """Requests are acted on, but not taken off the list."""
    return True


def _unlimited(_: Any, count: int) -> int:
    return max(0, count)


def _silence_is_loss(seen: Any) -> Any:
    if seen.observation.sightings is not None:
        return None
    return assess._Verdict(status=NodeStatus.FAILED, reason=Reason(code="account_silent"))


def _no_grace(cls: type[base.ResourceHandler]) -> base.Traits:
    return base.Traits(idempotent=cls.traits.idempotent, settle=cls.traits.settle, absence_grace=-1.0)


#: What is taken out: (mode, object, name, what stands in its place, the invariant that must notice).
GUARDS: dict[str, tuple[str, Any, str, Any, str]] = {
    "dependees at the claim": ("tokens", plan, "missing_dependee", _nothing_missing, "dependees"),
    "not found is not gone": ("tokens", cloud.Tokens, "traits", _no_grace(cloud.Tokens), "unknown"),
    "silence is not loss": (
        "tokens",
        assess,
        "CASES",
        (_silence_is_loss, *assess.CASES[1:]),
        "unknown",
    ),
    "idempotency tokens": ("tokens", cloud.Account, "of_token", lambda *_: None, "twin"),
    "limits of scaling": ("tokens", scaling, "_within", _unlimited, "max"),
    "requests by id": ("tokens", requests, "consume", _kept, "requests"),
    "beat sends again": ("tokens", operations, "claim_due", lambda *_, **__: [], "rest"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_taken_out_is_missed(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, where, name, instead, invariant = GUARDS[guard]
    monkeypatch.setattr(where, name, instead)
    for seed in range(MOST):
        violations = world.World(seed, mode, MINUTES).run().violations
        if any(found == invariant for found, _, _ in violations):
            return
    pytest.fail(f"{MOST} runs without {guard}, and no violation of {invariant!r}")


def _result(**values: Any) -> world.Result:
    return world.Result(
        **{
            "seed": 1,
            "mode": "tokens",
            "virtual": 1800.0,
            "steps": 1,
            "trace": 1,
            "violations": (),
            "faults": dict.fromkeys(faults.KINDS, 1),
            "left": 0,
            **values,
        }
    )


def test_a_fault_that_never_came_fails_a_large_set_of_runs() -> None:
    total = runs.Total()
    for _ in range(runs.ENOUGH_RUNS):
        total.add(_result())
    assert total.never == []
    total.faults["list stale"] = 0
    assert total.never == ["list stale"]
    assert "NEVER FIRED: list stale" in list(total.lines(30.0))


def test_a_violation_is_told_with_the_way_to_see_it_again() -> None:
    total = runs.Total()
    total.add(_result(violations=(("twin", "two of them", 7),)))
    lines = list(total.lines(30.0))
    assert lines[0] == "VIOLATION twin: two of them (seed 1, tokens, step 7)"
    assert "--seed 1 --runs 1 --mode tokens --minutes 30 --engine sqlite --tell" in lines[1]
    assert lines[-1].endswith("1 violations")


@pytest.mark.parametrize(("kind", "code"), [("tokens", 0), ("no_tokens", 0)])
def test_the_command(kind: str, code: int) -> None:
    command = [sys.executable, "-m", "occo_celery.simulation", "--seed", "1", "--runs", "2", "--mode", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("2 runs, ")
