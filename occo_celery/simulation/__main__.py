"""``python -m occo_celery.simulation``: runs seeds and says what came of them; exit code 1 when anything was wrong.

The last line: runs, virtual hours, faults by kind, violations. A failing seed is printed with the command that makes
it again; ``--tell`` then prints every step.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import sys
from collections.abc import Sequence

from occo_celery.simulation import runs, server, world


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m occo_celery.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed (default: drawn)")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--seeds", help="these seeds, separated by commas, instead")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--mode", choices=runs.MODES, help="the kind of cloud (default: seeds take turns)")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite", help="of the UDS")
    parser.add_argument("--url", help="an empty PostgreSQL database to use, by one process")
    parser.add_argument("--minutes", type=float, default=30.0, help="virtual minutes a run")
    parser.add_argument("--tell", action="store_true", help="print every step (of one run)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    seeds = _seeds(chosen)
    if not (chosen.worker or chosen.tell):
        return _many(seeds, chosen)
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a run
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  # ourselves
    if chosen.worker or chosen.engine == "sqlite" or chosen.url:
        return _work(seeds, chosen, chosen.url)
    with server.databases(1) as urls:
        return _work(seeds, chosen, urls[0])


def _seeds(chosen: argparse.Namespace) -> Sequence[int]:
    if chosen.seeds:
        return [int(one) for one in chosen.seeds.split(",")]
    first = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**9)
    return range(first, first + chosen.runs)


def _many(seeds: Sequence[int], chosen: argparse.Namespace) -> int:
    """Over several processes; prints what came of all."""
    jobs, total = min(chosen.jobs, len(seeds)), runs.Total()
    with contextlib.ExitStack() as stack:
        urls: Sequence[str] = ()
        if chosen.engine == "postgresql":
            urls = stack.enter_context(server.databases(jobs))
        for result in runs.spread(seeds, chosen.mode, chosen.minutes, jobs, urls):
            total.add(result)
    for line in total.lines(chosen.minutes, chosen.engine):
        print(line)
    return 1 if total.failed or total.never else 0


def _work(seeds: Sequence[int], chosen: argparse.Namespace, url: str | None) -> int:
    """One process of many: a line a run."""
    gc.disable()  # a run makes little garbage that goes round in circles
    for number, seed in enumerate(seeds):
        mode = runs.mode_of(seed, chosen.mode)
        result = world.World(seed, mode, chosen.minutes, print if chosen.tell else None, url=url).run()
        print(runs.to_line(result), flush=True)
        if number % 10 == 9:
            gc.collect()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
