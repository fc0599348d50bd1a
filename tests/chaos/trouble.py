"""What happens to the processes while users are at work: each kind of trouble is one method of Trouble.

Called by __main__.py, from one thread. What was killed is started again after a moment, as systemd would; what was
stopped goes on after its time.
"""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil

from tests.acceptance.installation import Installation

PROGRAMS = ("passes", "passes:2", "instructions", "instructions:2", "beat", "beat:2")
#: Seconds after which a program that was killed is started again; for which one is stopped: for a moment, and for
#: longer than the leases of passes.
AGAIN, MOMENT, LONG = 1.0, 3.0, 14.0


class Trouble:
    """rng: chooses. kills: how many of each kind so far."""

    def __init__(self, installation: Installation, server: Any, rng: random.Random) -> None:
        self._installation, self._server, self._rng = installation, server, rng
        self.kills: Counter[str] = Counter()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.kinds: tuple[Callable[[], str], ...] = (
            self.kill_a_program,
            self.kill_a_program,
            self.kill_a_child,
            self.stop_a_program,
            self.stop_past_the_lease,
            self.kill_nodes,
            self.kill_nodes,
            self.broker_comes_back_empty,
            self.database_restarts,
        )
        self._queue: list[Callable[[], str]] = []

    def strike(self) -> None:
        """One of the kinds; each comes before any comes again."""
        if not self._queue:
            self._queue = self._rng.sample(self.kinds, len(self.kinds))
        self.kills[self._queue.pop()()] += 1

    def see_to(self) -> None:
        """Start again, or let go on, what has waited for its time."""
        now = time.monotonic()
        due = [one for one in self._later if one[0] <= now]
        self._later = [one for one in self._later if one[0] > now]
        for _, act in due:
            act()
        for name in PROGRAMS:
            process = self._installation.processes.get(name)
            if process is not None and process.poll() is not None:  # it has ended by itself: systemd starts it again
                del self._installation.processes[name]
                self._installation.start(name)

    def end(self) -> None:
        """No more trouble: everything runs."""
        while self._later:
            self._later = [(0.0, act) for _, act in self._later]
            self.see_to()

    def _soon(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def _running(self) -> list[str]:
        return [name for name in PROGRAMS if name in self._installation.processes and self._installation.alive(name)]

    # --- kinds; each returns what it did ------------------------------------------------------------------------

    def kill_a_program(self) -> str:
        name = self._rng.choice(self._running() or ["beat"])
        if name in self._installation.processes:
            self._installation.kill(name)
        self._soon(AGAIN, lambda: self._start(name))
        return f"kill -9 {name.partition(':')[0]}"

    def _start(self, name: str) -> None:
        if name not in self._installation.processes:
            self._installation.start(name)

    def kill_a_child(self) -> str:
        """Of a worker that forks: its parent makes another."""
        for name in self._running():
            children = psutil.Process(self._installation.processes[name].pid).children()
            if name.startswith("passes") and children:
                self._signal(self._rng.choice(children), signal.SIGKILL)
                break
        return "kill -9 a child of passes"

    def stop_a_program(self) -> str:
        return self._stop(MOMENT, "SIGSTOP for a moment")

    def stop_past_the_lease(self) -> str:
        return self._stop(LONG, "SIGSTOP past the lease")

    def _stop(self, seconds: float, kind: str) -> str:
        running = self._running()
        if running:
            parent = psutil.Process(self._installation.processes[self._rng.choice(running)].pid)
            family = [parent, *parent.children(recursive=True)]
            for one in family:
                self._signal(one, signal.SIGSTOP)
            self._soon(seconds, lambda: [self._signal(one, signal.SIGCONT) for one in family] and None)
        return kind

    def kill_nodes(self) -> str:
        nodes = self._installation.nodes()
        for one in self._rng.sample(nodes, min(3, len(nodes))):
            self._signal(one, signal.SIGKILL)
        return "kill -9 three nodes"

    def broker_comes_back_empty(self) -> str:
        broker = self._installation.broker
        broker.kill()
        shutil.rmtree(pathlib.Path(broker.socket).parent / "appendonlydir", ignore_errors=True)
        self._soon(AGAIN, broker.start)
        return "broker killed, comes back empty"

    def database_restarts(self) -> str:
        pid = self._server.get_pid()
        up = pid is not None and psutil.pid_exists(pid)
        if up:
            server = psutil.Process(pid)
            server.send_signal(self._rng.choice([signal.SIGQUIT, signal.SIGINT]))
            server.wait(30)
        # where init is slow to reap, what was killed last time may have been taken for running then
        self._soon(AGAIN, self._server.ensure_postgres_running)
        return "PostgreSQL restarts" if up else "PostgreSQL was still down"

    def _signal(self, one: psutil.Process, what: signal.Signals) -> None:
        try:
            if one.is_running():  # the same process, not another of its id
                os.kill(one.pid, what)
        except (psutil.NoSuchProcess, ProcessLookupError):
            pass
