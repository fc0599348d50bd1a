"""Databases for tests: made once with their tables, then copied for each test."""

from __future__ import annotations

import contextlib
import pathlib
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from occo_celery.uds import migrate
from occo_celery.uds.store import Store

ENGINES = ("sqlite", "postgresql")
_TEMPLATE = "migrated"


def on(engine: str) -> pytest.MarkDecorator:
    """For tests of whole installations that show what no engine has a part in: the other one is left out."""
    return pytest.mark.parametrize("database_url", [engine], indirect=True)


def migrated(folder: pathlib.Path) -> pathlib.Path:
    """A file of SQLite with all tables and no rows, which is complete without others beside it."""
    path = folder / "uds.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


class PostgreSQL:
    """Databases on one server. url: of the server, with a database that is always there."""

    def __init__(self, url: str) -> None:
        self._server = sa.make_url(url).set(drivername="postgresql+psycopg")
        self._admin = sa.create_engine(self._server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._copied = False

    @contextlib.contextmanager
    def new(self, *, migrated: bool) -> Iterator[str]:
        """The URL of a new database, with tables or without; it is gone after the block."""
        if migrated and not self._copied:
            self._do(f"CREATE DATABASE {_TEMPLATE}")
            _migrate(self._url(_TEMPLATE))
            self._copied = True
        name = f"t{uuid.uuid4().hex}"
        self._do(f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if migrated else ""))
        yield self._url(name)
        self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def _url(self, name: str) -> str:
        return self._server.set(database=name).render_as_string(hide_password=False)

    def _do(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)


def _migrate(url: str) -> None:
    store = Store(url)
    migrate.upgrade(store)
    store.close()
