"""What all commands share: the global options, the manager, and the ways to speak to people and to programs.

Results go to standard output, as text or as one JSON document; everything else goes to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from occo_celery.api.manager import InfrastructureManager
    from occo_celery.settings import Settings


class Context:
    """The global options of one call."""

    def __init__(self) -> None:
        self.json = False

    def configure(self, cfg: pathlib.Path | None, auth_data: pathlib.Path | None) -> None:
        """Put the named files where this process, its children and plugins all find them."""
        for variable, path in (("OCCOPUS_CONFIG_PATH", cfg), ("OCCOPUS_AUTH_DATA_PATH", auth_data)):
            if path is not None:
                os.environ[variable] = str(path.absolute())

    def settings(self) -> Settings:
        from occo_celery import settings

        return settings.load()

    def manager(
        self, strategy: str | None = None, interval: float | None = None, longest: float | None = None
    ) -> InfrastructureManager:
        """A manager of the configured system; strategy and intervals: of what it attaches."""
        from occo_celery.api import manager, occoapp

        system = occoapp.setup()
        try:
            return manager.InfrastructureManager(
                strategy or system.settings.enactor.strategy,
                enactor_interval=interval,
                longest_interval=longest,
                system=system,
            )
        except ValueError as problem:
            raise typer.BadParameter(str(problem), param_hint="'--longest-interval'") from problem

    def give(self, value: Any, text: str) -> None:
        """The result: a value for programs, text for people."""
        print(json.dumps(plain(value), indent=2, ensure_ascii=False) if self.json else text)

    def say(self, text: str) -> None:
        """What is not the result."""
        print(text, file=sys.stderr)

    def console(self, *, stderr: bool = False) -> Console:
        from rich import console

        return console.Console(stderr=stderr, highlight=False)


def of(context: typer.Context) -> Context:
    """The Context of a call of a command."""
    found = context.find_object(Context)
    assert found is not None
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses become mappings, tuples lists, paths text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _wants_json(context: typer.Context, value: bool) -> bool:
    if value:
        of(context).json = True
    return value


#: Every command takes --json itself, as well as before its name.
Json = Annotated[bool, typer.Option("--json", callback=_wants_json, help="The result as JSON on standard output.")]
InfraId = Annotated[str, typer.Argument(metavar="INFRA_ID", help="The identifier of the infrastructure.")]
File = Annotated[pathlib.Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)]
Timeout = Annotated[float | None, typer.Option(min=0, help="Give up waiting after so many seconds.")]
