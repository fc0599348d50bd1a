"""Commands that look: `occo list`, `report`, `plan`, `events`, `logs`, `accounts`."""

from __future__ import annotations

import datetime
import io
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from occo_celery.cli import changes, context

if TYPE_CHECKING:
    from occo_celery.api.manager import InfrastructureManager
    from occo_celery.api.report import Summary
    from occo_celery.model import budget, instruction
    from occo_celery.uds.events import Event


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command()(report)
    app.command()(plan)
    app.command()(events)
    app.command()(logs)
    app.command()(accounts)


def list_(call: typer.Context, json: context.Json = False) -> None:
    """List the infrastructures that are not torn down, oldest first."""
    said = context.of(call)
    found = said.manager().list()
    rows = [
        (
            one.infra_id,
            one.name,
            _state(one),
            f"{one.ready}/{one.instances}",
            _time(one.created_at),
        )
        for one in found
    ]
    text = _table(("INFRA_ID", "NAME", "STATE", "READY", "CREATED"), rows) if rows else "no infrastructures"
    said.give(found, text)


def _state(one: Summary) -> str:
    if one.managed:
        return "suspended" if one.suspended else "provisioning"
    return {"submitted": "detached", "tearing_down": "being torn down"}.get(one.phase, one.phase)


def report(call: typer.Context, infra_id: context.InfraId, json: context.Json = False) -> None:
    """Show the instances of an infrastructure, with their states and why they are so."""
    said = context.of(call)
    found = said.manager().report(infra_id)
    said.give(found, "\n".join(_nodes(found)))


def _nodes(found: Mapping[str, Any]) -> Iterable[str]:
    for name, node in found.items():
        scaling = node["scaling"]
        yield f"{name}: {scaling['actual']} of {scaling['target']} ({scaling['min']} to {scaling['max']})"
        rows = [
            (f"  {node_id}", one["state"], one["resource_address"] or "-", _time(one["since"]), one["reason"])
            for node_id, one in node["instances"].items()
        ]
        if rows:
            yield _table(None, rows)


def plan(
    call: typer.Context,
    infra_id: context.InfraId,
    file: Annotated[
        pathlib.Path | None, typer.Option(exists=True, dir_okay=False, help="As if updated to this description.")
    ] = None,
    how: Annotated[
        changes.Update, typer.Option("--update", help="How that update replaces changed instances.")
    ] = changes.Update.ROLLING,
    json: context.Json = False,
) -> None:
    """Show what the next pass would do, after a look at the clouds. Changes nothing."""
    said = context.of(call)
    delta = said.manager().plan(infra_id, file, how.value)
    steps = [_step(one) for one in delta.instructions]
    waiting = {name: reason.text() for name, reason in delta.waiting.items()}
    said.give({"ready": delta.ready, "instructions": steps, "waiting": waiting}, "\n".join(_foreseen(steps, waiting)))


def _step(one: instruction.Instruction) -> dict[str, str]:
    """An instruction as people and programs read it."""
    from occo_celery.model import instruction

    match one:
        case instruction.CreateInfrastructure():
            return {"do": "begin"}
        case instruction.CreateNode():
            return {"do": "create", "node": one.node_name}
        case instruction.DropNode():
            return {"do": "drop", "node": one.node_name, "node_id": one.node_id, "why": one.why}
        case instruction.ReplaceNode():
            return {"do": "replace", "node": one.node_name, "node_id": one.node_id}


def _foreseen(steps: Sequence[Mapping[str, str]], waiting: Mapping[str, str]) -> Iterator[str]:
    counts = Counter((step["do"], step.get("node")) for step in steps)
    for step in steps:
        if step["do"] in ("drop", "replace"):
            why = f": {step['why']}" if "why" in step else ""
            yield f"{step['do']} {step['node']} {step['node_id']}{why}"
    for (what, node), count in counts.items():
        if what == "create":
            yield f"create {count} x {node}"
    for node, why in waiting.items():
        yield f"later {node}: {why}"
    totals = Counter(step["do"] for step in steps)
    kinds = ("create", "drop", "replace")
    yield f"{', '.join(f'{totals[kind]} to {kind}' for kind in kinds)}; nothing was changed"


def events(
    call: typer.Context,
    infra_id: context.InfraId,
    after: Annotated[int, typer.Option(min=0, help="Begin after the event of this number.")] = 0,
    json: context.Json = False,
) -> None:
    """Show what happened to an infrastructure, oldest first."""
    said = context.of(call)
    found = _all(said.manager(), infra_id, after)
    rows = [(str(one.id), _time(one.time), one.name, _details(one.data)) for one in found]
    said.give(found, _table(("NUMBER", "TIME", "EVENT", ""), rows) if rows else "no events")


def _all(manager: InfrastructureManager, infra_id: str, after: int) -> Sequence[Event]:
    found: list[Event] = []
    while some := manager.events(infra_id, after=found[-1].id if found else after):
        found += some
    return found


def _details(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in data.items())


def logs(
    call: typer.Context,
    node_id: Annotated[str, typer.Argument(metavar="NODE_ID", help="The identifier of the instance.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="So many of the last lines.")] = 100,
    json: context.Json = False,
) -> None:
    """Show what an instance has put out: its console, cloud-init or process output."""
    said = context.of(call)
    text = said.manager().logs(node_id, lines=lines)
    said.give({"node_id": node_id, "logs": text}, text.rstrip("\n"))


def _time(seconds: float | None) -> str:
    """A time in the zone of whoever looks."""
    if seconds is None:
        return "-"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(heads: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """Columns, as wide as what is in them: never cut, so that identifiers can be copied and text searched."""
    from rich import console, table, text

    grid = table.Table(*(heads or ()), box=None, show_header=heads is not None, pad_edge=False, header_style="")
    for _ in rows[0] if heads is None else ():
        grid.add_column()
    for row in rows:
        grid.add_row(*(text.Text(cell) for cell in row))
    for column in grid.columns:
        column.no_wrap, column.overflow = True, "ignore"
    out = io.StringIO()
    wide = console.Console(file=out, width=10_000, color_system=None)
    wide.print(grid)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n"))


def accounts(call: typer.Context, json: context.Json = False) -> None:
    """List the cloud accounts: what is on them, their budgets, who is silent, where healing waits, orphans."""
    from occo_celery.api import accounts as books
    from occo_celery.api import occoapp

    said = context.of(call)
    found = books.overview(occoapp.setup())
    head = ("ACCOUNT", "INSTANCES", "AT_WORK", "BUDGET", "ANSWERS", "HEALING", "ORPHANS")
    rows = [
        (
            one.account,
            str(one.instances),
            str(one.at_work),
            _budget(one.budget),
            "yes" if one.silent_until is None else f"no, asked again {_time(one.silent_until)}: {one.reason}",
            "yes" if one.healing_waits_until is None else f"waits until {_time(one.healing_waits_until)}",
            str(one.orphans),
        )
        for one in found
    ]
    said.give(found, _table(head, rows) if rows else "no cloud account has been used yet")


def _budget(one: budget.Budget | None) -> str:
    if one is None:
        return "-"
    parts = [
        f"{one.concurrency} at a time" if one.concurrency is not None else "",
        f"{one.rate:g}/s, {one.burst} at once" if one.rate is not None else "",
    ]
    return "; ".join(filter(None, parts))
