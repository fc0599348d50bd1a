"""Transactions that interleave on PostgreSQL: who waits goes on when the other has ended; a deadlock is found."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from occo_celery.simulation import baton, interleaved
from occo_celery.uds import tables
from tests import databases

pytestmark = pytest.mark.postgresql


class Immortal:
    """A life that does not end."""

    def point(self, what: str) -> None:
        """Goes on."""

    def check(self) -> None:
        """Goes on."""


@pytest.fixture
def data(postgresql_databases: databases.PostgreSQL) -> Iterator[interleaved.Database]:
    """With the accounts a and b."""
    with postgresql_databases.new(migrated=False) as url:
        made = interleaved.Database(url)
        with made.engine.begin() as connection:
            connection.execute(tables.accounts.insert(), [{"account": one, "misses": 0} for one in "ab"])
        yield made
        made.close()


def _lock(data: interleaved.Database, the_baton: baton.Baton, names: str) -> None:
    """In one transaction, with a second in between."""
    update = tables.accounts.update().values(misses=tables.accounts.c.misses + 1)
    data.begun()
    try:
        with data.engine.begin() as connection:
            for name in names:
                connection.execute(update.where(tables.accounts.c.account == name))
                the_baton.sleep(1.0)
    finally:
        data.ended()


def _run(data: interleaved.Database, *orders: str) -> list[str]:
    """What is said of actors that lock these accounts in these orders."""
    the_baton, told = baton.Baton(random.Random(1), 0.0), list[str]()
    data.attend(the_baton, lambda kind, _: told.append(kind))
    for number, names in enumerate(orders):
        actor = the_baton.spawn(str(number), lambda names=names: _lock(data, the_baton, names))  # type: ignore[misc]
        actor.life = Immortal()
    try:
        the_baton.run()
    except interleaved.Deadlock:
        told.append("broken")
    return told


def test_who_waits_goes_on_when_the_other_has_ended(data: interleaved.Database) -> None:
    assert _run(data, "ab", "ab", "b") == []
    assert data.rows(str(sa.select(sa.func.sum(tables.accounts.c.misses)))) == [(5,)]


def test_who_wait_for_each_other_are_found(data: interleaved.Database) -> None:
    assert _run(data, "ab", "ba") == ["deadlock", "broken"]
