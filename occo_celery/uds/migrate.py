"""Brings a database up to date, and compares it with what the program expects.

Called by `occo db upgrade` and `occo db check`; that it is up to date is asked by version.py.
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

from occo_celery.uds import store as stores
from occo_celery.uds import tables, version

# Alembic tells at INFO what it is about to do; nobody asked.
logging.getLogger("alembic").setLevel(logging.WARNING)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The newest version that there is a migration to: version.OURS."""
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
        at = version.found(connection)
        if at is not None and at not in known:
            raise version.unknown(store, at)
        command.upgrade(config, "head")
    return version.OURS


def differences(store: stores.Store) -> list[Any]:
    """What the tables differ in from tables.py: empty when the migrations are complete."""
    with store.read() as connection:
        return list(
            autogenerate.compare_metadata(
                migration.MigrationContext.configure(connection, opts={"compare_type": True}), tables.metadata
            )
        )
