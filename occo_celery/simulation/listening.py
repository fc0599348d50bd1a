"""What is logged as an error is one: exceptions that the core swallowed. Called by world.py."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

from occo_celery import errors


class Listening(logging.Handler):
    """Hears errors of the core while a run lasts. Nothing less is formatted."""

    def __init__(self, violated: Callable[[str, str], None]) -> None:
        super().__init__(logging.ERROR)
        self._violated = violated
        self._logger = logging.getLogger("occo_celery")

    def emit(self, record: logging.LogRecord) -> None:
        problem = record.exc_info[1] if record.exc_info else None
        if not isinstance(problem, errors.OccoError):
            self._violated("broken", place(problem) if problem is not None else record.getMessage())

    def __enter__(self) -> None:
        self._level, self._propagates = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.ERROR)
        self._logger.propagate = False
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagates


def place(problem: BaseException) -> str:
    """What broke and where, in a line."""
    trace, places = problem.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        if "occo_celery" in code.co_filename and "simulation" not in code.co_filename:
            places.append(f"{pathlib.Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(problem).__name__}: {problem} ({' < '.join(reversed(places[-4:]))})"
