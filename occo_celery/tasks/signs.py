"""Worker programs and beats say every few seconds that they live; `occo doctor` reads it.

A worker says so from a thread, and only if its main loop has turned meanwhile (Celery's heartbeat_sent tells, with or
without -E): a database that is slow or away must not hold up the loop, and a loop that hangs, or has no broker, must
not look alive. Beat says so in its tick. Each time with a connection of its own, which measures the clocks anew.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

from celery import signals

from occo_celery import settings
from occo_celery.uds import programs
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)

#: Seconds between two signs; doctor calls a program dead after three.
INTERVAL = 10.0

BEAT = "beat"
QUEUES = ("passes", "instructions")

#: Held while a sign is being given: a pool that forks meanwhile would hand locks of the database's driver to a child
#: in which nobody lets go of them.
_giving = threading.Lock()
os.register_at_fork(before=_giving.acquire, after_in_parent=_giving.release, after_in_child=_giving.release)


class Signs:
    """The signs of one program. kinds: what it does. Trouble with the database is logged once, and lived with."""

    def __init__(self, config: settings.Settings, kinds: tuple[str, ...]) -> None:
        self._config, self._kinds = config, kinds
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._started: float | None = None
        self._said_at: float | None = None
        self._trouble = False

    def say(self) -> None:
        """Say that we live, if the last time was INTERVAL seconds ago."""
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= INTERVAL:
            self._said_at = now
            self._write(alive=True)

    def end(self) -> None:
        """Say goodbye."""
        self._write(alive=False)

    def _write(self, *, alive: bool) -> None:
        try:
            with _giving:
                store = Store(self._config.uds_url)
                try:
                    self._write_to(store, alive)
                finally:
                    store.close()
            self._trouble = False
        except Exception as problem:  # noqa: BLE001  # a sign of life is not worth a program's life
            if not self._trouble:
                self._trouble = True
                log.warning("cannot say that this program lives: %s", problem)

    def _write_to(self, store: Store, alive: bool) -> None:
        with store.write() as connection:
            now = store.now()
            self._started = self._started or now
            for kind in self._kinds:
                name = f"{kind}@{self._host}:{self._pid}"[-255:]
                if not alive:
                    programs.ended(connection, name)
                    continue
                programs.alive(
                    connection,
                    programs.Program(
                        program_id=name,
                        kind=kind,
                        host=self._host,
                        started_at=self._started,
                        seen_at=now,
                        clock_offset=store.offset,
                    ),
                )


class _Thread(threading.Thread):
    """Gives the signs of a worker. turned: set by the worker's main loop each time it turns."""

    def __init__(self, signs: Signs) -> None:
        super().__init__(name="signs", daemon=True)
        self.turned, self._over, self._signs = threading.Event(), threading.Event(), signs

    def run(self) -> None:
        self._signs.say()
        while not self._over.wait(1.0):
            if self.turned.is_set():
                self.turned.clear()
                self._signs.say()

    def end(self) -> None:
        self._over.set()
        self.join(timeout=10.0)
        self._signs.end()


def of_worker(config: settings.Settings) -> None:
    """Have the worker that this process may become give signs, from when it takes messages until it ends."""
    running: list[_Thread] = []

    def ready(sender: Any, **_: Any) -> None:
        queues = sender.app.amqp.queues.consume_from
        running.append(_Thread(Signs(config, tuple(kind for kind in QUEUES if kind in queues))))
        running[-1].start()

    def turned(**_: Any) -> None:
        for thread in running:
            thread.turned.set()

    def ended(**_: Any) -> None:
        while running:
            running.pop().end()

    signals.worker_ready.connect(ready, weak=False)
    signals.heartbeat_sent.connect(turned, weak=False)
    signals.worker_shutdown.connect(ended, weak=False)
