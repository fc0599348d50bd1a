"""Figures: medians of several runs with their spread, ratios to a peer of the same run, and the results file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results.json"
PACKAGES = ("celery", "kombu", "redis", "SQLAlchemy", "psycopg", "celery-redbeat", "sqlalchemy-celery-beat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure. runs: what each run measured, in ``unit``. peer, peer_runs: what it is compared with.

    bar: (``value`` or ``ratio``, ``<=`` or ``>=``, limit); None for a figure that only informs.
    """

    name: str
    unit: str
    runs: Sequence[float]
    peer: str | None = None
    peer_runs: Sequence[float] = ()
    bar: tuple[str, str, float] | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    @property
    def ratio(self) -> float | None:
        return self.value / statistics.median(self.peer_runs) if self.peer_runs else None

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached."""
        if self.bar is None:
            return None
        column, how, limit = self.bar
        measured = self.value if column == "value" else self.ratio
        assert measured is not None
        return measured <= limit if how == "<=" else measured >= limit

    def to_json(self) -> dict[str, Any]:
        ratio = self.ratio
        return {
            "value": _short(self.value),
            "unit": self.unit,
            "ratio": None if ratio is None else _short(ratio),
            "peer": self.peer,
            "runs": [_short(one) for one in self.runs],
            "spread": [_short(min(self.runs)), _short(max(self.runs))],
            "peer_runs": [_short(one) for one in self.peer_runs],
            "bar": None if self.bar is None else " ".join(map(str, self.bar)),
            "met": self.met,
            "note": self.note,
        }

    def text(self, *, quick: bool = False) -> str:
        """One line for people; nothing of bars where little was measured, once."""
        ratio = "" if self.ratio is None else f", {self.ratio:.3g} x {self.peer}"
        spread = f" ({min(self.runs):.4g} to {max(self.runs):.4g}, {len(self.runs)} runs)"
        bar = (
            ""
            if self.bar is None or quick
            else f"; bar: {' '.join(map(str, self.bar))}: {'met' if self.met else 'MISSED'}"
        )
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}: {self.value:.4g} {self.unit}{spread}{ratio}{bar}{note}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured. quick: only whether everything works."""

    quick: bool = False
    runs: int = field(default=5)

    def of(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def repeat(self, one: Callable[[], float]) -> list[float]:
        """Runs of one measurement; the first, which warms up, does not count."""
        if not self.quick:
            one()
        return [one() for _ in range(1 if self.quick else self.runs)]

    def alternate(
        self, ours: Callable[[], float], peer: Callable[[], float] | None
    ) -> tuple[list[float], list[float]]:
        """Runs of two measurements in turn, so that both meet the same machine."""
        found: tuple[list[float], list[float]] = ([], [])
        for number in range(1 if self.quick else self.runs + 1):
            values = (ours(), None if peer is None else peer())
            for value, where in zip(values, found, strict=True):
                if value is not None and (number or self.quick):
                    where.append(value)
        return found


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def machine() -> dict[str, Any]:
    """Where it was measured."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = next((int(line.split()[1]) // 1024 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    return {"cores": os.cpu_count(), "processor": model, "memory_mb": memory, "system": platform.platform()}


def _lines(path: str) -> list[str]:
    return pathlib.Path(path).read_text().splitlines()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def loop_ms() -> float:
    """Milliseconds of a fixed piece of Python, at best: how quick the machine and its Python are just now."""

    def took() -> float:
        began = time.perf_counter()
        total = 0
        for number in range(500_000):
            total += number
        return time.perf_counter() - began

    return _short(1000 * min(took() for _ in range(10)))


def write(figures: Iterable[Figure], path: pathlib.Path = RESULTS) -> None:
    """Put figures into the results file, beside those of other benchmarks that are there."""
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    speed = {"loop_ms": loop_ms()}
    measured = {**known.get("figures", {}), **{one.name: one.to_json() | speed for one in figures}}
    text = json.dumps(
        {"machine": machine(), "versions": versions(), "figures": dict(sorted(measured.items()))}, indent=1
    )
    path.write_text(text + "\n")


def main(run: Callable[[Size], Iterator[Figure]], arguments: Sequence[str] | None = None) -> int:
    """The command line of one benchmark. Exit code 1 when a bar was missed (never with --quick)."""
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--quick", action="store_true", help="small, once: only whether it works; nothing is written")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever is ended ends what he started
    figures = []
    for one in run(Size(quick=chosen.quick, runs=chosen.runs)):
        print(one.text(quick=chosen.quick), flush=True)
        figures.append(one)
        if not chosen.quick:
            write([one])  # at once: a run of an hour that is ended keeps what it has measured
    return 0 if chosen.quick or all(one.met is not False for one in figures) else 1
