"""What a pass reads under its lease: a glance of what is ready, everything of what is not."""

from __future__ import annotations

from typing import Any

import pytest

from occo_celery.model import instance
from occo_celery.uds import accounts, infrastructures, leases, nodes, rows, tables
from occo_celery.uds.store import Store
from tests.integration.uds.test_schedule import NOW, managed

READY: dict[str, Any] = {
    "lifecycle": "running",
    "status": "ready",
    "reason_code": "ready",
    "account": "one",
    "instance_id": "i-1",
    "addresses": ["10.0.0.1"],
    **rows.implementation_columns({"resource": {"type": "x"}}),
}
#: Each by itself is a reason to look closer.
UNSETTLED: tuple[dict[str, Any], ...] = (
    *({"lifecycle": one.value} for one in instance.Lifecycle if one is not instance.Lifecycle.RUNNING),
    {"status": "unknown"},
    {"status": "temp_failed"},
    {"reason_code": "healing_waits"},
    {"outdated": "asked"},
    {"failing_since": NOW},
    {"missing_since": NOW},
    {"lost_at": NOW},
)


def glance_of(store: Store, **changes: Any) -> leases.Glance:
    managed(store, "i")
    with store.write() as connection:
        nodes.insert(connection, "i", {"n": "a"}, now=NOW)
        connection.execute(tables.nodes.update().values(**{**READY, **changes}))
        ((glance,),) = leases.glances(connection, ["i", "other"]).values()
    return glance


def test_a_ready_instance_is_settled(store: Store) -> None:
    glance = glance_of(store)
    assert glance == leases.Glance("i", "n", True, False, "one", "i-1", '["10.0.0.1"]', READY["implementation_hash"])


def test_what_it_was_made_from_is_read_where_it_is_not_known(store: Store) -> None:
    made_from = str(glance_of(store).made_from)
    with store.read() as connection:
        assert leases.implementations(connection, ["i"], [made_from]) == {made_from: {"resource": {"type": "x"}}}
        assert leases.implementations(connection, ["i"], ["other"]) == {}
        assert leases.implementations(connection, ["other"], [made_from]) == {}


def test_an_account_that_missed_an_answer_is_shaky(store: Store) -> None:
    assert not glance_of(store).shaky
    with store.write() as connection:
        accounts.missed(connection, "one", reason="no answer", now=NOW)
        ((glance,),) = leases.glances(connection, ["i"]).values()
    assert glance.shaky


@pytest.mark.parametrize("changes", UNSETTLED, ids=str)
def test_what_is_not_as_it_should_be_is_not_settled(store: Store, changes: dict[str, Any]) -> None:
    assert not glance_of(store, **changes).settled


def test_ready_is_what_the_last_pass_said(store: Store) -> None:
    claim = managed(store, "i")
    with store.write() as connection:
        (taken,) = leases.take(connection, claim, now=NOW, until=NOW + 30, pass_token="p")
        assert not taken.ready
        assert leases.release(connection, "p", ["i", "other"]).keys() == {"i"}
        infrastructures.change(connection, "i", ready_since=NOW)
        (taken,) = leases.take(connection, claim, now=NOW, until=NOW + 30, pass_token="p")
        assert taken.ready


def test_only_what_is_leased_is_read(store: Store) -> None:
    claim = managed(store, "i")
    managed(store, "j")
    with store.write() as connection:
        leases.take(connection, claim, now=NOW, until=NOW + 30, pass_token="p")
        assert [one.infra.infra_id for one in leases.read(connection, "p", ["i", "j"])] == ["i"]
        assert leases.read(connection, "q", ["i", "j"]) == []
