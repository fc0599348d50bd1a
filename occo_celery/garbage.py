"""When Python searches for garbage that goes round in circles: seldom in our programs, not while something is built.

Most of what we make is freed by its reference counts. The search goes through all that a process holds each time that
this has grown by a quarter: a quarter of the time in which a large description was compiled went into it.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

#: Objects made and not freed before a search of the youngest; Python's own 700 is meant for small programs.
SELDOM = (20_000, 20, 20)

_lock = threading.Lock()
_blocks = 0  # that put it off


def seldom() -> None:
    """From now on in this process. For programs of ours: the process of a caller of the API is not ours to tune."""
    gc.set_threshold(*SELDOM)


def spare_what_is_here() -> None:
    """Never look at what there is by now, as modules: forked children then share its memory (see gc.freeze)."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """No search until the block, and those of other threads, have ended. For work that is bounded, and makes much."""
    global _blocks
    with _lock:
        ours = _blocks > 0 or gc.isenabled()  # or else somebody has turned it off, and wants it so
        _blocks += ours
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _blocks -= ours
            if ours and not _blocks:
                gc.enable()
