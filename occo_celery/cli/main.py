"""The command line, `occo`. Exit codes: 0 done, 1 failed, 2 wrong usage.

Commands import what they work with when they run, so that `occo --help` is quick.
"""

from __future__ import annotations

import gc
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import occo_celery
from occo_celery import errors, garbage
from occo_celery.cli import changes, context, doctor, infrastructures, installation, looking, programs

app = typer.Typer(
    name="occo",
    help="Infrastructures on many clouds, kept as described.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(value: bool) -> None:
    if value:
        print(f"occo_celery {occo_celery.VERSION}")
        raise typer.Exit


@app.callback()
def common(
    call: typer.Context,
    cfg: Annotated[
        pathlib.Path | None,
        typer.Option("--cfg", metavar="FILE", exists=True, dir_okay=False, help="Configuration file."),
    ] = None,
    auth_data: Annotated[
        pathlib.Path | None,
        typer.Option("--auth-data", metavar="FILE", exists=True, dir_okay=False, help="File of credentials."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Results as JSON on standard output.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Infrastructures on many clouds, kept as described."""
    call.obj = context.Context()
    call.obj.json = json
    call.obj.configure(cfg, auth_data)


infrastructures.add_to(app)
changes.add_to(app)
looking.add_to(app)
doctor.add_to(app)
installation.add_to(app)
programs.add_to(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. argv: the arguments, by default those of the process."""
    try:
        app(args=list(argv) if argv is not None else None, prog_name="occo")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except errors.OccoError as problem:
        print(f"occo: {problem}", file=sys.stderr)
        return 1
    except Exception as problem:
        if os.environ.get("OCCO_DEBUG"):
            raise
        kind = type(problem).__name__
        print(f"occo: {kind}: {problem} (a bug, it seems; OCCO_DEBUG=1 shows where)", file=sys.stderr)
        return 1
    return 0


def run() -> None:
    """The console script. Garbage is not looked for once the work is done: that takes as long as some commands do."""
    garbage.seldom()
    code = main()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
