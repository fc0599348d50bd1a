"""Beat's goodbye: Celery's signal handler closes the scheduler in the midst of a tick, and once more after it."""

from __future__ import annotations

from typing import Any

import celery
import pytest

from occo_celery.tasks.scheduler import UdsScheduler


class Signs:
    def __init__(self) -> None:
        self.ended = 0

    def end(self) -> None:
        self.ended += 1


def test_the_goodbye_waits_for_the_tick_that_a_signal_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transaction is open until it has ended; ours would wait for it, in the same thread."""
    scheduler, said = UdsScheduler(celery.Celery(set_as_current=False), lazy=True), Signs()
    scheduler._signs = said  # type: ignore[assignment]

    def interrupted(*_: Any) -> float:
        scheduler.close()
        assert said.ended == 0
        raise SystemExit

    monkeypatch.setattr(scheduler, "_tick", interrupted)
    with pytest.raises(SystemExit):
        scheduler.tick()
    scheduler.close()
    scheduler.close()
    assert said.ended == 1
