"""Makes the Celery app of a worker or beat, with our tasks on it. Called by workers/*.py and the CLI.

A task body finds its System through the process: a prefork child makes its own when its first task runs, since
connections must not be shared across a fork.
"""

from __future__ import annotations

import functools
import logging.config
import os
import threading
from typing import Any

import celery
from celery import signals

from occo_celery import dispatch, errors, garbage, settings, wiring
from occo_celery.infraprocessor import teardown
from occo_celery.model.message import Claim
from occo_celery.tasks import signs
from occo_celery.uds import version
from occo_celery.uds.store import Store

log = logging.getLogger(__name__)


class PerProcess:
    """The System of the process that asks, made anew after a fork."""

    def __init__(self, config: settings.Settings) -> None:
        self._settings, self._pid = config, 0
        self._lock = threading.Lock()
        self._system: wiring.System | None = None

    def __call__(self) -> wiring.System:
        with self._lock:
            if self._system is None or self._pid != os.getpid():
                self._system, self._pid = wiring.System(self._settings), os.getpid()
            return self._system


def make_worker_app(config: settings.Settings | None = None) -> celery.Celery:
    """The app with all tasks registered; the database is looked at before a worker takes its first message."""
    garbage.seldom()
    config = config or settings.load()
    app = dispatch.make_app(config)
    app.conf.occo_settings, app.conf.occo_system = config, PerProcess(config)
    register(app, app.conf.occo_system)
    signals.worker_init.connect(lambda **_: _refuse_unless_usable(config), weak=False)
    signals.worker_init.connect(lambda **_: wiring.load_all(), weak=False)
    signs.of_worker(config)
    if config.logging is not None:
        signals.setup_logging.connect(lambda **_: logging.config.dictConfig(dict(config.logging or {})), weak=False)
    return app


def _refuse_unless_usable(config: settings.Settings) -> None:
    """Celery swallows exceptions of signal handlers, but not this one."""
    try:
        check_store(config)
    except errors.StoreError as problem:
        raise SystemExit(f"occo: {problem}") from problem


def check_store(config: settings.Settings) -> None:
    """Raise StoreError if the database is not there or of another version."""
    store = Store(config.uds_url)
    try:
        version.check(store)
    finally:
        store.close()


def register(app: celery.Celery, system: PerProcess) -> None:
    """Put the tasks on an app."""
    task = functools.partial(app.task, shared=False)  # else each would be on every other app of the process, too

    @task(name=dispatch.PASS)
    def enactor_pass(token: str, infra_ids: list[str], woken: bool = False) -> None:
        system().enactor.run(Claim(token=token, infra_ids=tuple(infra_ids), woken=woken))

    @task(name=dispatch.CREATE)
    def create_node(targets: list[str]) -> None:
        system().infraprocessor.perform(targets)

    @task(name=dispatch.DROP)
    def drop_node(targets: list[str]) -> None:
        system().infraprocessor.perform(targets)

    @task(name=dispatch.SWEEP_ACCOUNT)
    def sweep_account(account: str) -> None:
        system().sweeper.sweep(account)

    @task(name=dispatch.DROP_LEVEL, bind=True, max_retries=None, reject_on_worker_lost=True)
    def drop_level(self: Any, infra_id: str, token: str, stage: int) -> None:
        _until(self, system().teardown.drop_level(infra_id, token, stage))

    @task(name=dispatch.SWEEP, bind=True, max_retries=None, reject_on_worker_lost=True)
    def sweep(self: Any, infra_id: str, token: str, stage: int) -> None:
        _until(self, system().teardown.sweep(infra_id, token, stage))

    @task(name=dispatch.FINISH, bind=True, max_retries=None, reject_on_worker_lost=True)
    def finish(self: Any, infra_id: str, token: str, stage: int) -> None:
        _until(self, system().teardown.finish(infra_id, token, stage))


def _until(task: Any, done: bool) -> None:
    """Let the chain go on when the link is done, else have the link called again; nobody waits in a task."""
    if not done:
        wait = teardown.again_after(task.request.retries, task.app.conf.occo_settings.instructions.resend)
        raise task.retry(countdown=wait, argsrepr=task.request.argsrepr)  # it keeps what Flower shows
