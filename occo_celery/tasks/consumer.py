"""The part of a worker that takes messages: Celery's own, but for how it sends events of tasks (Flower shows these).

Celery sends what has come up in each turn of its loop, at once: two or three messages a task, each of which takes the
worker's main thread as long as a short task's statements take. Named in dispatch.py.
"""

from __future__ import annotations

import time
from typing import Any

from celery.worker import consumer

#: Seconds for which events wait for others to travel with. Each has its own time in it; so many as Celery puts into
#: one message at most are sent at once.
GATHER = 0.1


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """Sends events of tasks together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sent_by = 0.0
        super().__init__(*args, **kwargs)

    def on_send_event_buffered(self) -> None:
        """There is an event to be sent. Called from the main thread, or from one of those that perform tasks."""
        now = time.monotonic()
        # By the clock, not by a flag: timers are forgotten when the connection to the broker is lost.
        if self.hub and now >= self._sent_by:
            self._sent_by = now + GATHER
            self.hub.call_soon(self._send_later)  # timers are the main thread's alone

    def stop(self) -> None:
        """Before the connection goes."""
        self._flush_events()
        super().stop()

    def _send_later(self) -> None:
        self.hub.call_later(GATHER, self._flush_events)
