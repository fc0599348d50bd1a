"""What nobody expected is logged by where it happened, never by its words: they may be of what was rendered, or of a
section, and those may hold secrets. Called by whatever calls plugins."""

from __future__ import annotations

import logging
import traceback


def logged(log: logging.Logger, what: str, problem: Exception) -> str:
    """Log an exception of no known kind. what: one clause that says what failed. Returns what may be shown of it: the
    name of its type."""
    kind, where = type(problem).__name__, "".join(traceback.format_tb(problem.__traceback__))
    log.error("%s: nobody expected %s, at\n%s", what, kind, where)
    return kind
