"""The long-running programs: `occo worker`, `occo beat`, `occo up`."""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import sys
from typing import Annotated, Any

import typer

from occo_celery import errors
from occo_celery.cli import context


class Queue(enum.StrEnum):
    """The two worker programs, each with a queue of its own."""

    PASSES = "passes"
    INSTRUCTIONS = "instructions"


#: How each program works off its queue: the kind of pool, and how many tasks at a time. Passes take turns at the
#: processor, but half of the time one waits: for a cloud, the database's disk, or its next message.
POOLS = {Queue.PASSES: ("prefork", 4), Queue.INSTRUCTIONS: ("threads", 16)}


def add_to(app: typer.Typer) -> None:
    app.command()(worker)
    app.command()(beat)
    app.command()(up)


def worker_options(queue: Queue, concurrency: int | None) -> dict[str, Any]:
    """What Celery's worker of this process is told; its name is unique, for people and Flower."""
    pool, usual = POOLS[queue]
    return {
        "hostname": f"{queue}-{os.getpid()}@{socket.gethostname()}",
        "queues": [queue.value],
        "pool_cls": pool,
        "concurrency": concurrency or usual,
        "task_events": True,
        # Workers need to know nothing of each other: what they share is in SQL.
        "without_mingle": True,
        "without_gossip": True,
        "loglevel": "INFO",
    }


def worker(
    call: typer.Context,
    queue: Annotated[Queue, typer.Argument(help="What it works on.")],
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, help="Tasks at a time; 4 for passes, else 16.")
    ] = None,
    json: context.Json = False,
) -> None:
    """Run a worker: of passes, or of instructions and teardowns."""
    from occo_celery.tasks import entry

    settings = context.of(call).settings()
    entry.check_store(settings)
    app = entry.make_worker_app(settings)
    app.set_current()
    # The command `celery` would load its other commands, and Flower where it is installed: half of the time to start.
    running = app.Worker(**worker_options(queue, concurrency))
    running.start()
    raise typer.Exit(running.exitcode or 0)


def beat(call: typer.Context, json: context.Json = False) -> None:
    """Run beat, which sends what is due. Several may run; each takes its share."""
    from occo_celery.tasks import entry

    app = entry.make_worker_app(context.of(call).settings())
    app.set_current()
    # One that does not answer is waited for by the scheduler; tables of another version would stay so.
    with contextlib.suppress(errors.StoreUnavailable):
        _ = app.conf.occo_system().store
    app.Beat(scheduler="occo_celery.tasks.scheduler:UdsScheduler", loglevel="INFO").run()


def up(call: typer.Context, json: context.Json = False) -> None:
    """Run everything on this machine, in the foreground: broker, workers and beat. Ctrl-C ends it."""
    from occo_celery import embedded

    settings = context.of(call).settings()
    raise typer.Exit(embedded.run(settings, [sys.executable, "-m", "occo_celery.cli.main"]))
