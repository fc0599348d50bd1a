"""`occo doctor`: is everything as it should be? For people, and for monitoring by its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from occo_celery.cli import context

if TYPE_CHECKING:
    from occo_celery.api.examination import Examination, Orphans


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    call: typer.Context,
    sweep: Annotated[
        bool, typer.Option("--sweep/--no-sweep", help="Look through the cloud accounts for what nobody knows.")
    ] = True,
    json: context.Json = False,
) -> None:
    """Examine the installation. Exit code 1 when there is a problem; warnings are none."""
    from occo_celery.api import doctor as doctors
    from occo_celery.api import occoapp

    said = context.of(call)
    found = doctors.examine(occoapp.setup(), sweep=sweep)
    plain = context.plain(found)
    said.give({"ok": found.ok, **plain}, "\n".join(_lines(found, swept=sweep)))
    if not found.ok:
        raise typer.Exit(1)


def _lines(found: Examination, *, swept: bool) -> Iterator[str]:
    for one in found.findings:
        remedy = f" ({one.remedy})" if one.remedy else ""
        yield f"{one.severity.value:8} {one.check:11} {one.sentence}{remedy}"
        yield from (f"{'':21}{detail}" for detail in one.details)
    yield _count(found.orphans, swept=swept)
    yield _summary(found)


def _count(orphans: Orphans, *, swept: bool) -> str:
    """Never a number that is not known."""
    if orphans.count is not None:
        return f"orphans: {orphans.count}"
    if not swept:
        return "orphans: not looked for"
    return f"orphans: at least {len(orphans.found)}" if orphans.found else "orphans: unknown"


def _summary(found: Examination) -> str:
    from occo_celery.api.examination import Severity

    problems, warnings = found.count(Severity.PROBLEM), found.count(Severity.WARNING)
    parts = [
        f"{number} {name}{'' if number == 1 else 's'}"
        for number, name in ((problems, "problem"), (warnings, "warning"))
        if number
    ]
    return ", ".join(parts) or "all is well"
