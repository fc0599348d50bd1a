"""Versions of the database: bring it up to date, or refuse one that this program does not know.

Called by `occo db upgrade`, `occo db check`, and by every process before it uses a store.
"""

from __future__ import annotations

import logging
import pathlib
from typing import Any

import sqlalchemy as sa
from alembic import autogenerate, command
from alembic.config import Config
from alembic.runtime import migration
from alembic.script import ScriptDirectory

from occo_celery import errors
from occo_celery.uds import store as stores
from occo_celery.uds import tables

# Alembic tells at INFO what it is about to do; nobody asked.
logging.getLogger("alembic").setLevel(logging.WARNING)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The version that this program works with."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def upgrade(store: stores.Store) -> str:
    """Make or migrate the tables; returns the version. Two that do so at once take turns."""
    with store.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7265636)"))
        config = _config()
        config.attributes["connection"] = connection
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        at = _version(connection)
        if at is not None and at not in known:
            raise _unknown(store, at)
        command.upgrade(config, "head")
    return head()


def check(store: stores.Store) -> str:
    """The version, if it is ours. Raises SchemaVersionError with the way out."""
    with store.read() as connection:
        at = _version(connection)
    if at is None:
        raise errors.SchemaVersionError(
            f"the database {store.url.render_as_string()} has no tables yet; make them with `occo db upgrade`"
        )
    if at != head():
        raise _unknown(store, at)
    return at


def differences(store: stores.Store) -> list[Any]:
    """What the tables differ in from tables.py: empty when the migrations are complete."""
    with store.read() as connection:
        return list(
            autogenerate.compare_metadata(
                migration.MigrationContext.configure(connection, opts={"compare_type": True}), tables.metadata
            )
        )


def _version(connection: sa.Connection) -> str | None:
    return migration.MigrationContext.configure(connection).get_current_revision()


def _unknown(store: stores.Store, at: str) -> errors.SchemaVersionError:
    return errors.SchemaVersionError(
        f"the database {store.url.render_as_string()} is of version {at}, this program works with {head()}; "
        "run `occo db upgrade`, or use the program that the database was made with if it is the newer one"
    )
