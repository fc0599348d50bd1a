"""Commands that change what is there: `occo scale`, `update`, `replace`, `retry`, `suspend`, `resume`."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from occo_celery.cli import context, infrastructures

if TYPE_CHECKING:
    from occo_celery.api.manager import InfrastructureManager

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until everything is ready.")]


class Update(StrEnum):
    """What becomes of instances that would be made otherwise now."""

    ROLLING = "rolling"
    RECREATE = "recreate"
    IGNORE = "ignore"


def add_to(app: typer.Typer) -> None:
    for command in (scale, update, replace, retry, suspend, resume):
        app.command()(command)


def scale(
    call: typer.Context,
    infra_id: context.InfraId,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The name of the node.")],
    to: Annotated[int | None, typer.Option(min=0, help="Have so many instances.")] = None,
    up: Annotated[int | None, typer.Option(min=1, help="Have so many more.")] = None,
    down: Annotated[int | None, typer.Option(min=1, help="Have so many fewer.")] = None,
    drop: Annotated[
        str | None, typer.Option(metavar="NODE_ID", help="Have one fewer: this node_id or address.")
    ] = None,
    timeout: context.Timeout = None,
    wait: Wait = True,
    json: context.Json = False,
) -> None:
    """Change how many instances a node has, within the limits of its description."""
    if sum(one is not None for one in (to, up, down, drop)) != 1:
        raise typer.BadParameter("one of --to, --up, --down and --drop is wanted")
    said = context.of(call)
    manager = said.manager()
    if to is not None:
        count = manager.scale_to(infra_id, node, to)
    elif up is not None:
        count = manager.scale_up(infra_id, node, up)
    else:
        count = manager.scale_down(infra_id, node, drop, down or 1)
    ready = _follow(said, manager, infra_id, timeout, wait)
    said.give({"infra_id": infra_id, "node": node, "target": count, "ready": ready}, f"{node}: {count} instances")


def _follow(
    said: context.Context, manager: InfrastructureManager, infra_id: str, timeout: float | None, wait: bool
) -> bool:
    """Wait until it is ready, if that is wanted and can be; returns whether it is."""
    if not wait:
        return False
    summary = next((one for one in manager.list() if one.infra_id == infra_id), None)
    if summary is None or not summary.managed or summary.suspended:
        how = "resume" if summary is not None and summary.suspended else "attach"
        said.say(f"noted; it is done when the infrastructure is provisioned again (`occo {how} {infra_id}`)")
        return False
    infrastructures.wait_ready(said, manager, infra_id, timeout)
    return True


def update(
    call: typer.Context,
    infra_id: context.InfraId,
    file: context.File,
    how: Annotated[
        Update, typer.Option("--update", help="Replace changed instances one by one, all at once, or not.")
    ] = Update.ROLLING,
    timeout: context.Timeout = None,
    wait: Wait = True,
    json: context.Json = False,
) -> None:
    """Give an infrastructure a new description, and wait until it is as that says."""
    said, began = context.of(call), time.monotonic()
    manager = said.manager()
    generation = manager.update_infrastructure(infra_id, file, how.value)
    ready = _follow(said, manager, infra_id, timeout, wait)
    result = {"infra_id": infra_id, "generation": generation, "ready": ready}
    said.give(
        {**result, "seconds": round(time.monotonic() - began, 3)}, f"updated {infra_id}, generation {generation}"
    )


def replace(
    call: typer.Context,
    node_id: Annotated[str, typer.Argument(metavar="NODE_ID", help="The instance that is to be replaced.")],
    json: context.Json = False,
) -> None:
    """Make another instance in the place of this one, which is dropped when that is ready."""
    said = context.of(call)
    said.manager().replace(node_id)
    said.give({"node_id": node_id, "replacing": True}, f"{node_id} is being replaced")


def retry(
    call: typer.Context,
    infra_id: context.InfraId,
    node: Annotated[str | None, typer.Option(metavar="NODE", help="Only this node, or this node_id.")] = None,
    json: context.Json = False,
) -> None:
    """Try again now what failed and waits, for its time or for a change."""
    said = context.of(call)
    count = said.manager().retry(infra_id, node)
    said.give({"infra_id": infra_id, "retried": count}, f"{count} instructions are tried again")


def suspend(call: typer.Context, infra_id: context.InfraId, json: context.Json = False) -> None:
    """Let an infrastructure be until `occo resume`: nothing is healed, made or dropped."""
    said = context.of(call)
    said.manager().suspend(infra_id)
    said.give({"infra_id": infra_id, "suspended": True}, f"suspended {infra_id}")


def resume(call: typer.Context, infra_id: context.InfraId, json: context.Json = False) -> None:
    """Go on with a suspended infrastructure."""
    said = context.of(call)
    said.manager().resume(infra_id)
    said.give({"infra_id": infra_id, "suspended": False}, f"resumed {infra_id}")
