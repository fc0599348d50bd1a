"""What a pass reads under its lease."""

from __future__ import annotations

from occo_celery.uds import leases
from occo_celery.uds.store import Store
from tests.integration.uds.test_schedule import NOW, managed


def test_a_lease_is_given_back_by_its_token(store: Store) -> None:
    claim = managed(store, "i")
    with store.write() as connection:
        assert leases.take(connection, claim, now=NOW, until=NOW + 30, pass_token="p") == ["i"]
        assert leases.release(connection, "q", ["i"]) == {}
        assert leases.release(connection, "p", ["i", "other"]).keys() == {"i"}


def test_only_what_is_leased_is_read(store: Store) -> None:
    claim = managed(store, "i")
    managed(store, "j")
    with store.write() as connection:
        leases.take(connection, claim, now=NOW, until=NOW + 30, pass_token="p")
        assert [one.infra.infra_id for one in leases.read(connection, "p", ["i", "j"])] == ["i"]
        assert leases.read(connection, "q", ["i", "j"]) == []
