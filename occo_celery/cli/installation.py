"""Commands about the installation: `occo db upgrade`, `occo db check`, `occo config check`, `occo schema`."""

from __future__ import annotations

import dataclasses
import enum
import json as json_format
from typing import TYPE_CHECKING, Annotated

import typer

from occo_celery import errors
from occo_celery.cli import context

if TYPE_CHECKING:
    from occo_celery.settings import Settings


def add_to(app: typer.Typer) -> None:
    db = typer.Typer(help="The database.", no_args_is_help=True)
    db.command("upgrade")(db_upgrade)
    db.command("check")(db_check)
    app.add_typer(db, name="db")
    config = typer.Typer(help="The configuration.", no_args_is_help=True)
    config.callback()(_config)
    config.command("check")(config_check)
    app.add_typer(config, name="config")
    app.command()(schema)


def _config() -> None:
    """The configuration."""


def db_upgrade(call: typer.Context, json: context.Json = False) -> None:
    """Make the tables, or bring them up to date."""
    from occo_celery.uds import migrate
    from occo_celery.uds.store import Store

    said = context.of(call)
    settings = said.settings()
    _folder(settings)
    store = Store(settings.uds_url)
    try:
        version = migrate.upgrade(store)
    finally:
        store.close()
    said.give({"version": version}, f"the database is of version {version}")


def _folder(settings: Settings) -> None:
    """The home, where the database is a file in it."""
    if settings.uds_url.startswith("sqlite:") and str(settings.home) in settings.uds_url:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)


def db_check(call: typer.Context, json: context.Json = False) -> None:
    """Check that the database answers and is of this program's version."""
    said = context.of(call)
    version = _database(said.settings())
    said.give({"version": version}, f"the database is of version {version}, as it should be")


def _database(settings: Settings) -> str:
    """Its version."""
    from occo_celery.uds import version
    from occo_celery.uds.store import Store

    store = Store(settings.uds_url)
    try:
        return version.check(store)
    finally:
        store.close()


def _credentials(settings: Settings) -> str:
    """The file."""
    from occo_celery import wiring

    settings.auth.check(wiring.choosing)
    return settings.auth.source or "none"


def _broker(settings: Settings) -> str:
    from occo_celery import dispatch

    dispatch.Dispatch(dispatch.make_app(settings), settings).check()
    return "answers"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What `occo config check` found. auth_data: the file, or what is wrong in it; database, broker: how each is."""

    source: str
    home: str
    auth_data: str
    uds_url: str
    broker_url: str
    database: str
    broker: str
    ok: bool


def config_check(call: typer.Context, json: context.Json = False) -> None:
    """Show which configuration is used, and whether its database and its broker answer."""
    said = context.of(call)
    found = _checked(said.settings())
    version = "" if " " in found.database else "version "
    lines = [
        f"configuration  {found.source}",
        f"home           {found.home}",
        f"credentials    {found.auth_data}",
        f"database       {found.uds_url}: {version}{found.database}",
        f"broker         {found.broker_url}: {found.broker}",
    ]
    said.give(found, "\n".join(lines))
    if not found.ok:
        raise typer.Exit(1)


def _checked(settings: Settings) -> Checked:
    states, ok = [], True
    for check in (_database, _broker, _credentials):
        try:
            states.append(check(settings))
        except errors.OccoError as problem:
            states.append(str(problem))
            ok = False
    return Checked(
        source=settings.source,
        home=str(settings.home),
        auth_data=states[2],
        uds_url=masked(settings.uds_url),
        broker_url=masked(settings.broker_url),
        database=states[0],
        broker=states[1],
        ok=ok,
    )


def masked(url: str) -> str:
    """A URL without its password, wherever one can stand: before the host, or among the options."""
    head, mark, options = url.partition("?")
    scheme, separator, rest = head.partition("://")
    user, at, host = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{scheme}{separator}{name}{':***' if colon else ''}{at}{host}{mark}"
    return shown + "&".join(_masked_option(one) for one in options.split("&"))


def _masked_option(option: str) -> str:
    key, equals, value = option.partition("=")
    secret = any(word in key.lower() for word in ("pass", "secret", "token", "key"))
    return f"{key}{equals}{'***' if secret and value else value}"


class Written(enum.StrEnum):
    """What users write."""

    DESCRIPTION = "description"
    DEFINITIONS = "definitions"


def schema(
    call: typer.Context,
    what: Annotated[Written, typer.Argument(help="Infrastructure descriptions, or files of node definitions.")],
    json: context.Json = False,
) -> None:
    """Print the JSON Schema of descriptions or definitions, for editors to complete and check them."""
    from occo_celery.compiler import json_schema
    from occo_celery.plugins import registry

    said = context.of(call)
    if what is Written.DESCRIPTION:
        made = json_schema.description()
    else:
        made, missing = json_schema.node_definitions(registry.schema_for, registry.names)
        for problem in missing:
            said.say(f"not checked: {problem}")
    said.give(made, json_format.dumps(made, indent=2))
