"""Connections: one that the server has ended while it rested is not used again; which commits wait for the disk."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from occo_celery.uds import store as stores

OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rested'"


def test_a_connection_that_was_ended_while_it_rested_is_not_seen(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RESTED", -1.0)
    named = sa.make_url(postgresql).update_query_dict({"application_name": "rested"})
    rested = stores.Store(named.render_as_string(hide_password=False))
    other = stores.Store(postgresql)
    try:
        with rested.read() as connection:
            connection.execute(sa.text("SELECT 1"))
        with other.read() as connection:
            assert connection.execute(sa.text(OTHERS)).all() == [(True,)]
        with rested.read() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    finally:
        rested.close()
        other.close()


def test_a_commit_waits_for_the_disk_unless_it_may_be_lost(postgresql: str) -> None:
    store, waits = stores.Store(postgresql), sa.text("SHOW synchronous_commit")
    try:
        with store.write() as connection:
            store.may_be_lost(connection)
            assert connection.execute(waits).scalar() == "off"
        with store.write() as connection:  # the same connection
            assert connection.execute(waits).scalar() == "on"
    finally:
        store.close()


def test_a_statement_alone_is_a_transaction_and_what_follows_on_its_connection_is_one_again(postgresql: str) -> None:
    which = sa.text("SELECT pg_backend_pid(), pg_current_xact_id()::text")
    store = stores.Store(postgresql, pool_size=1)
    try:
        with store.read(alone=True) as connection:
            (server, first), (_, second) = (connection.execute(which).one() for _ in range(2))
        assert first != second
        with store.write() as connection:
            (same, first), (_, second) = (connection.execute(which).one() for _ in range(2))
        assert (same, first) == (server, second)
    finally:
        store.close()


def test_a_clock_that_is_set_is_noticed_when_a_connection_has_rested(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RESTED", -1.0)
    true, store, ask = (
        time.time,
        stores.Store(postgresql),
        sa.text("SELECT extract(epoch FROM clock_timestamp())::float8"),
    )
    try:
        for ahead in (0.0, 3600.0, -50.0):
            monkeypatch.setattr(stores.time, "time", lambda ahead=ahead: true() + ahead)
            with store.read() as connection:
                assert store.now() == pytest.approx(connection.execute(ask).scalar(), abs=1.0)
    finally:
        store.close()
