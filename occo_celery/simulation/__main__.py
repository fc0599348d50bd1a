"""``python -m occo_celery.simulation``: runs seeds and says what came of them; exit code 1 when anything was wrong.

The last line: runs, virtual hours, faults by kind, violations. A failing seed is printed with the command that makes
it again; ``--tell`` then prints every step.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from collections.abc import Callable, Sequence

from occo_celery.simulation import runs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m occo_celery.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed (default: drawn)")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--seeds", help="these seeds, separated by commas, instead")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--mode", choices=runs.MODES, help="the kind of cloud (default: seeds take turns)")
    parser.add_argument("--minutes", type=float, default=30.0, help="virtual minutes a run")
    parser.add_argument("--tell", action="store_true", help="print every step (of one run)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.seeds:
        seeds = [int(one) for one in chosen.seeds.split(",")]
    else:
        first = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**9)
        seeds = list(range(first, first + chosen.runs))
    if chosen.worker:
        return _work(seeds, chosen.mode, chosen.minutes, None)
    if chosen.tell:
        if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a run
            environment = {**os.environ, "PYTHONHASHSEED": "0"}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  # ourselves
        return _work(seeds[:1], chosen.mode, chosen.minutes, print)
    total = runs.Total()
    for result in runs.spread(seeds, chosen.mode, chosen.minutes, min(chosen.jobs, len(seeds))):
        total.add(result)
    for line in total.lines(chosen.minutes):
        print(line)
    return 1 if total.failed or total.never else 0


def _work(seeds: Sequence[int], mode: str | None, minutes: float, tell: Callable[[str], None] | None) -> int:
    """One process of many: a line a run."""
    gc.disable()  # a run makes little garbage that goes round in circles
    for number, result in enumerate(runs.here(seeds, mode, minutes, tell)):
        print(runs.to_line(result), flush=True)
        if number % 10 == 9:
            gc.collect()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
