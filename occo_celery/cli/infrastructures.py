"""Commands that change infrastructures: `occo import`, `build`, `attach`, `detach`, `destroy`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from occo_celery.cli import context, progress

if TYPE_CHECKING:
    from occo_celery.api.manager import InfrastructureManager
    from occo_celery.api.torn import TearDown

Strategy = Annotated[
    bool | None,
    typer.Option("--parallel/--sequential", help="How instances are created; the configuration's way by default."),
]
Interval = Annotated[
    float | None, typer.Option(min=0.1, help="Longest time between two passes, seconds; 10 if not configured.")
]
Longest = Annotated[
    float | None,
    typer.Option(
        min=0.1, help="The interval doubles from pass to pass while nothing happens, up to so many seconds."
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_)
    app.command()(build)
    app.command()(attach)
    app.command()(detach)
    app.command()(destroy)


def import_(call: typer.Context, file: context.File, json: context.Json = False) -> None:
    """Import the node definitions of a file: all of them, or none."""
    said = context.of(call)
    names = said.manager().import_definitions(file)
    said.give({"imported": list(names)}, f"imported: {', '.join(names)}")


def build(
    call: typer.Context,
    file: context.File,
    timeout: context.Timeout = None,
    parallel: Strategy = None,
    interval: Interval = None,
    longest_interval: Longest = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until everything is ready.")] = True,
    json: context.Json = False,
) -> None:
    """Submit the infrastructure that a file describes, provision it, and wait until it is ready."""
    said, began = context.of(call), time.monotonic()
    manager = said.manager(_strategy(parallel), interval, longest_interval)
    infra_id = manager.add(file)
    if wait:
        said.say(f"infrastructure {infra_id}")
        wait_ready(said, manager, infra_id, timeout)
    result = {"infra_id": infra_id, "ready": wait, "seconds": round(time.monotonic() - began, 3)}
    said.give(result, infra_id)


def _strategy(parallel: bool | None) -> str | None:
    return {None: None, True: "parallel", False: "sequential"}[parallel]


def wait_ready(said: context.Context, manager: InfrastructureManager, infra_id: str, timeout: float | None) -> None:
    """Wait, with progress shown, until everything is ready. Raises WaitTimeout."""
    process = manager.get(infra_id)
    _following(
        said,
        lambda: progress.of_report(manager.report(infra_id)),
        lambda: process.wait_ready(timeout),
        f"the work on infrastructure {infra_id} goes on by itself; `occo report {infra_id}` shows how far it is",
    )


def _following(
    said: context.Context, look: Callable[[], list[str]] | None, wait: Callable[[], None], left: str
) -> None:
    """Wait with progress shown. Ctrl-C ends the waiting, not what is waited for."""
    try:
        with progress.shown(said, look) if look is not None else contextlib.nullcontext():
            wait()
    except KeyboardInterrupt:
        said.say(f"not waiting any more: {left}")
        raise typer.Exit(1) from None


def attach(
    call: typer.Context,
    infra_id: context.InfraId,
    parallel: Strategy = None,
    interval: Interval = None,
    longest_interval: Longest = None,
    json: context.Json = False,
) -> None:
    """Start provisioning an infrastructure that is there already."""
    said = context.of(call)
    said.manager(_strategy(parallel), interval, longest_interval).attach(infra_id)
    said.give({"infra_id": infra_id, "managed": True}, f"attached {infra_id}")


def detach(
    call: typer.Context,
    infra_id: context.InfraId,
    timeout: Annotated[float, typer.Option(min=0, help="Wait so many seconds for what has begun.")] = 60,
    json: context.Json = False,
) -> None:
    """Stop provisioning an infrastructure; it stays as it is."""
    said = context.of(call)
    _detach(said, said.manager(), infra_id, timeout)
    said.give({"infra_id": infra_id, "managed": False}, f"detached {infra_id}")


def _detach(said: context.Context, manager: InfrastructureManager, infra_id: str, timeout: float) -> None:
    _following(
        said,
        None,  # nearly always over at once
        lambda: manager.stop_provisioning(infra_id, timeout),
        f"infrastructure {infra_id} is detached, what has begun is finished by itself",
    )


def destroy(
    call: typer.Context,
    infra_id: context.InfraId,
    detach: Annotated[bool, typer.Option("--detach", help="Detach it first, if it is being provisioned.")] = False,
    timeout: context.Timeout = None,
    json: context.Json = False,
) -> None:
    """Tear an infrastructure down, dependents first, and wait until nothing of it is left."""
    said, began = context.of(call), time.monotonic()
    manager = said.manager()
    if detach and _managed(manager, infra_id):
        _detach(said, manager, infra_id, 60 if timeout is None else timeout)
    torn = manager.tear_down(infra_id)
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
    _following(
        said,
        lambda: _of_teardown(torn),
        lambda: torn.wait(left),
        f"the teardown of infrastructure {infra_id} goes on by itself",
    )
    result = {"infra_id": infra_id, "state": torn.state, "seconds": round(time.monotonic() - began, 3)}
    said.give(result, f"destroyed {infra_id}")


def _managed(manager: InfrastructureManager, infra_id: str) -> bool:
    from occo_celery import errors

    try:
        return manager.get(infra_id).is_alive()
    except errors.InfrastructureIDNotFoundException:
        return False  # if it is not known at all, tear_down says so


def _of_teardown(torn: TearDown) -> list[str]:
    now = torn.progress
    return [f"{now.left} instances left, step {min(now.stage + 1, now.stages)} of {now.stages}", *now.trouble]
