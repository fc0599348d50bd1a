"""The version of the database that this program works with; every process asks before it uses a store.

Apart from migrate.py, which makes it so: asking must not cost every command the time that Alembic takes to load.
"""

from __future__ import annotations

import sqlalchemy as sa

from occo_celery import errors
from occo_celery.uds import store as stores

#: The newest of migrations/versions.
OURS = "0008"

_TABLE = sa.table("alembic_version", sa.column("version_num"))


def check(store: stores.Store) -> str:
    """The version, if it is ours. Raises SchemaVersionError with the way out."""
    with store.read() as connection:
        at = found(connection)
    if at is None:
        raise errors.SchemaVersionError(
            f"the database {store.url.render_as_string()} has no tables yet; make them with `occo db upgrade`"
        )
    if at != OURS:
        raise unknown(store, at)
    return at


def found(connection: sa.Connection) -> str | None:
    """The version of the database; None if it has no tables yet."""
    if not sa.inspect(connection).has_table(_TABLE.name):
        return None
    at: str | None = connection.execute(sa.select(_TABLE.c.version_num)).scalar()
    return at


def unknown(store: stores.Store, at: str) -> errors.SchemaVersionError:
    """The error for a version that is not ours."""
    return errors.SchemaVersionError(
        f"the database {store.url.render_as_string()} is of version {at}, this program works with {OURS}; "
        "run `occo db upgrade`, or use the program that the database was made with if it is the newer one"
    )
