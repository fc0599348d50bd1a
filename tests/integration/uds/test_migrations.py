"""The migrations make the tables that the program uses, and nothing works on others."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa

from occo_celery import errors
from occo_celery.uds import glances, infrastructures, migrate, nodes, schedule, tables, version
from occo_celery.uds.store import Store
from tests import databases, older
from tests.integration.uds.test_schedule import managed


def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    assert migrate.differences(store) == []
    assert version.check(store) == migrate.head() == version.OURS


def test_upgrading_again_changes_nothing(store: Store) -> None:
    assert migrate.upgrade(store) == migrate.head()


def test_an_interval_from_before_the_upgrade_stays_as_it_is(store: Store) -> None:
    managed(store, "i", interval=7.0)
    with store.write() as connection:
        older.go_back(connection, "0004")
    assert migrate.upgrade(store) == migrate.head()
    assert migrate.differences(store) == []
    with store.read() as connection:
        row = schedule.get(connection, "i")
    assert row is not None
    assert (row.interval, row.longest, row.pace) == (7.0, 7.0, 7.0)


def test_what_instances_were_made_from_before_the_upgrade_is_told_apart(store: Store) -> None:
    claim = managed(store, "i")
    implementations = {"n1": {"resource": {"type": "x"}}, "n2": {"resource": {"type": "y"}}, "n3": None}
    with store.write() as connection:
        nodes.insert(connection, "i", dict.fromkeys(implementations, "a"), now=0.0)
        for node_id, told in implementations.items():
            connection.execute(
                tables.nodes.update().where(tables.nodes.c.node_id == node_id).values(implementation=told)
            )
        infrastructures.change(connection, "i", ready_since=0.0)
        older.go_back(connection, "0006")
    assert migrate.upgrade(store) == migrate.head()
    assert migrate.differences(store) == []
    with store.read() as connection:
        found = {one.node_id: one.made_from for one in glances.take(connection, claim)["i"]}
        assert found.pop("n3") is None
        for node_id, made_from in found.items():
            assert glances.implementations(connection, ["i"], [made_from]) == {made_from: implementations[node_id]}
    assert len(set(found.values())) == 2


def without_tables(engine: str, request: pytest.FixtureRequest) -> contextlib.AbstractContextManager[str]:
    """The URL of a database that nobody has migrated yet."""
    if engine == "sqlite":
        return contextlib.nullcontext(f"sqlite:///{request.getfixturevalue('tmp_path') / 'new.sqlite'}")
    new: contextlib.AbstractContextManager[str] = request.getfixturevalue("postgresql_databases").new(migrated=False)
    return new


@pytest.mark.parametrize("engine", databases.ENGINES)
def test_a_database_without_tables_is_refused_with_the_way_out(engine: str, request: pytest.FixtureRequest) -> None:
    with without_tables(engine, request) as url:
        store = Store(url)
        with pytest.raises(errors.SchemaVersionError, match="occo db upgrade"):
            version.check(store)
        assert migrate.upgrade(store) == migrate.head()
        assert version.check(store) == version.OURS
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
