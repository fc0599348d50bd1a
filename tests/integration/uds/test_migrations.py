"""The migrations make the tables that the program uses, and nothing works on others."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from occo_celery import errors
from occo_celery.uds import migrate, version
from occo_celery.uds.store import Store


def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    assert migrate.differences(store) == []
    assert version.check(store) == migrate.head() == version.OURS


def test_upgrading_again_changes_nothing(store: Store) -> None:
    assert migrate.upgrade(store) == migrate.head()


def test_a_database_without_tables_is_refused_with_the_way_out(database_url: str) -> None:
    store = Store(database_url)
    with pytest.raises(errors.SchemaVersionError, match="occo db upgrade"):
        version.check(store)
    store.close()


def test_a_database_of_another_version_is_refused(store: Store) -> None:
    with store.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for act in (version.check, migrate.upgrade):
        with pytest.raises(errors.SchemaVersionError, match="9999"):
            act(store)


def test_no_database_is_one_clear_error(short_path: object) -> None:
    store = Store("postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(errors.StoreUnavailable) as caught:
        version.check(store)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)
