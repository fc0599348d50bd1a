"""Live progress of what takes a while. On a terminal a table that is kept up to date, else a line for each change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from occo_celery.cli import context

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Seconds between two looks.
LOOK = 0.5

Lines = list[str]


@contextmanager
def shown(call: context.Context, look: Callable[[], Lines]) -> Iterator[None]:
    """Show what ``look()`` says, on standard error, for as long as the block runs; nothing with --json."""
    if call.json:
        yield
        return
    console = call.console(stderr=True)
    over = threading.Event()
    show = _live if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(console, look, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _live(console: Any, look: Callable[[], Lines], over: threading.Event) -> None:
    from rich.live import Live

    began = time.monotonic()
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            live.update(_drawn(_looked(look), time.monotonic() - began))
            if over.wait(LOOK):
                live.update(_drawn(_looked(look), time.monotonic() - began))
                return


def _drawn(lines: Lines, seconds: float) -> RenderableType:
    from rich.text import Text

    return Text("\n".join([*lines, f"{seconds:.0f} s"]))


def _lines(console: Any, look: Callable[[], Lines], over: threading.Event) -> None:
    before: Lines = []
    while True:
        last = over.is_set()
        now = _looked(look)
        for line in now:
            if line not in before:
                console.print(line, markup=False, soft_wrap=True)
        before = now
        if last:
            return
        over.wait(LOOK)


def _looked(look: Callable[[], Lines]) -> Lines:
    """The wait itself says what is wrong; a look that fails only shows nothing new."""
    from occo_celery import errors

    try:
        return look()
    except errors.OccoError as problem:
        return [str(problem)]


def of_report(report: Mapping[str, Any]) -> Lines:
    """A line for each node: how many instances of how many, and why one is not ready."""
    lines = []
    for name, node in report.items():
        scaling, instances = node["scaling"], node["instances"].values()
        ready = sum(1 for one in instances if one["state"] == "ready")
        why = next((one["reason"] for one in instances if one["state"] != "ready" and one["reason"]), "")
        lines.append(f"{name}: {ready} of {scaling['target']} ready{f' ({why})' if why else ''}")
    return lines
