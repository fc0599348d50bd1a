"""Many runs over several processes, and what came of them all. Called by __main__.py.

Each process has a fixed hash seed: the order of sets must not differ from one to the next.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from occo_celery.simulation import faults, world

MODES = ("tokens", "no_tokens")
#: A set of fewer runs need not have met every kind of fault.
ENOUGH_RUNS = 100


@dataclass(slots=True)
class Total:
    """The sum of many runs. failed: (result) of every run with a violation."""

    runs: int = 0
    virtual: float = 0.0
    left: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[world.Result] = field(default_factory=list)

    def add(self, result: world.Result) -> None:
        self.runs += 1
        self.virtual += result.virtual
        self.left += result.left
        self.faults.update(result.faults)
        if result.violations:
            self.failed.append(result)

    @property
    def never(self) -> list[str]:
        """Kinds of faults that never came, where there were enough runs for all to come."""
        return [kind for kind in faults.KINDS if not self.faults[kind]] if self.runs >= ENOUGH_RUNS else []

    @property
    def violations(self) -> int:
        return sum(len(result.violations) for result in self.failed)

    def lines(self, minutes: float, engine: str = "sqlite") -> Iterator[str]:
        """What a person reads; the last line says it all."""
        for result in self.failed:
            for name, what, step in result.violations[:5]:
                yield f"VIOLATION {name}: {what} (seed {result.seed}, {result.mode}, step {step})"
            yield f"  again: {command(result.seed, result.mode, minutes, engine)} --tell"
        for kind in self.never:
            yield f"NEVER FIRED: {kind}"
        kinds = ", ".join(f"{kind} {self.faults[kind]}" for kind in faults.KINDS)
        yield (
            f"{self.runs} runs, {self.virtual / 3600:.1f} virtual hours, faults: {kinds}; "
            f"{self.left} left-overs of calls sent too late, found by the sweep of accounts; "
            f"{self.violations} violations"
        )


def command(seed: int, mode: str, minutes: float, engine: str) -> str:
    """What makes this run again."""
    return (
        f"python -m occo_celery.simulation --seed {seed} --runs 1 --mode {mode} --minutes {minutes:g} "
        f"--engine {engine}"
    )


def mode_of(seed: int, mode: str | None) -> str:
    """Without a wish, seeds take turns."""
    return mode or MODES[seed % len(MODES)]


def spread(
    seeds: Sequence[int], mode: str | None, minutes: float, jobs: int, urls: Sequence[str] = ()
) -> Iterator[world.Result]:
    """The runs of these seeds over several processes, as they come. urls: a PostgreSQL database for each."""
    shares = [seeds[job::jobs] for job in range(min(jobs, len(seeds)))]
    started = [_start(share, mode, minutes, urls[job] if urls else None) for job, share in enumerate(shares)]
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    readers = [threading.Thread(target=_read, args=(process, lines), daemon=True) for process in started]
    try:
        for reader in readers:
            reader.start()
        for _ in started:
            while (line := lines.get()) is not None:
                yield from_line(line)
        ended = [process.wait() for process in started]
        if any(ended):
            raise RuntimeError(f"a process of the simulation failed: exit codes {ended}")
    finally:
        for process in started:
            process.kill()
            process.wait()
        for reader in readers:
            reader.join()


def _start(seeds: Sequence[int], mode: str | None, minutes: float, url: str | None) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "occo_celery.simulation", "--worker", "--minutes", str(minutes)]
    words += ["--mode", mode] if mode is not None else []
    words += ["--url", url] if url is not None else []
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    words += ["--seeds", ",".join(map(str, seeds))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """All at the same time: a process whose pipe is full waits. None when it has ended."""
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line)
    lines.put(None)


def to_line(result: world.Result) -> str:
    return json.dumps(dataclasses.asdict(result))


def from_line(line: str) -> world.Result:
    values = json.loads(line)
    return world.Result(**{**values, "violations": tuple(tuple(one) for one in values["violations"])})
