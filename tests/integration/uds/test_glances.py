"""A glance: what is read without a lease of what is ready, and when a pass may end with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.model.message import Claim
from occo_celery.uds import accounts, glances, infrastructures, leases, nodes, rows, schedule, tables
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


def ready(store: Store, infra_id: str = "i", **changes: Any) -> Claim:
    """A ready infrastructure of one instance, and the claim that asks for a pass."""
    claim = managed(store, infra_id)
    with store.write() as connection:
        nodes.insert(connection, infra_id, {f"n{infra_id}": "a"}, now=NOW)
        of_it = tables.nodes.c.infra_id == infra_id
        connection.execute(tables.nodes.update().where(of_it).values(**{**READY, **changes}))
        infrastructures.change(connection, infra_id, ready_since=NOW)
    return claim


def glance_of(store: Store, claim: Claim) -> glances.Glance:
    with store.read() as connection:
        ((glance,),) = glances.take(connection, claim).values()
    return glance


def confirmed(store: Store, claim: Claim, wake: int = 0) -> set[str]:
    with store.write() as connection:
        wakes = dict.fromkeys(claim.infra_ids, wake)
        return set(glances.confirm(connection, claim.token, wakes, now=NOW + 1, duration=0.5))


def row_of(store: Store, infra_id: str = "i") -> schedule.Row:
    with store.read() as connection:
        row = schedule.get(connection, infra_id)
    assert row is not None
    return row


def change(store: Store, **values: Any) -> None:
    with store.write() as connection:
        infrastructures.change(connection, "i", **values)


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_ready_instance_is_settled(store: Store) -> None:
    glance = glance_of(store, ready(store))
    made_from = READY["implementation_hash"]
    assert glance == glances.Glance("i", 0, "ni", True, False, "one", "i-1", '["10.0.0.1"]', made_from)


def test_what_it_was_made_from_is_read_where_it_is_not_known(store: Store) -> None:
    made_from = str(glance_of(store, ready(store)).made_from)
    with store.read() as connection:
        assert glances.implementations(connection, ["i"], [made_from]) == {made_from: {"resource": {"type": "x"}}}
        assert glances.implementations(connection, ["i"], ["other"]) == {}
        assert glances.implementations(connection, ["other"], [made_from]) == {}


def test_an_account_that_missed_an_answer_is_shaky(store: Store) -> None:
    claim = ready(store)
    assert not glance_of(store, claim).shaky
    with store.write() as connection:
        accounts.missed(connection, "one", reason="no answer", now=NOW)
    assert glance_of(store, claim).shaky


@pytest.mark.parametrize("changes", UNSETTLED, ids=str)
def test_what_is_not_as_it_should_be_is_not_settled(store: Store, changes: dict[str, Any]) -> None:
    assert not glance_of(store, ready(store, **changes)).settled


@pytest.mark.parametrize(
    "changes",
    [
        {"ready_since": None},
        {"attach_epoch": 2},
        {"suspended": True},
        {"phase": "tearing_down"},
        {"pass_token": "p", "lease_until": NOW + 1},
        {"pass_token": "p", "lease_until": NOW - 100},
    ],
    ids=str,
)
def test_nothing_is_read_of_what_is_not_ready_or_not_to_be_looked_at(store: Store, changes: dict[str, Any]) -> None:
    claim = ready(store)
    change(store, **changes)
    with store.read() as connection:
        assert glances.take(connection, claim) == {}


def test_a_message_of_an_earlier_claim_reads_nothing(store: Store) -> None:
    claim = ready(store)
    with store.read() as connection:
        assert glances.take(connection, replace(claim, token="another")) == {}
        assert glances.take(connection, replace(claim, infra_ids=("j",))) == {}


# --- how a pass ends with it ----------------------------------------------------------------------------------------


def test_a_pass_ends_with_a_glance(store: Store) -> None:
    claim = ready(store)
    assert confirmed(store, claim) == {"i"}
    row = row_of(store)
    assert (row.claim_token, row.last_pass, row.last_duration, row.passes) == (None, NOW + 1, 0.5, 1)
    assert confirmed(store, claim) == set(), "once"


def test_those_that_were_left_alone_end_together(store: Store) -> None:
    claims = [ready(store, infra_id) for infra_id in ("i", "j", "k")]
    together = replace(claims[0], infra_ids=("k", "j", "i", "unknown"))
    with store.write() as connection:
        schedule.ask(connection, "j", now=NOW)
    assert confirmed(store, together) == {"i", "k"}


def test_a_wake_up_since_then_is_not_swallowed(store: Store) -> None:
    claim = ready(store)
    with store.write() as connection:
        assert schedule.wake(connection, "i", now=NOW, token="w") is not None
    assert confirmed(store, claim) == set()
    assert row_of(store).claim_token == claim.token
    assert confirmed(store, claim, wake=1) == {"i"}


@pytest.mark.parametrize(
    "changes",
    [
        {"pass_token": "p", "lease_until": NOW + 2},
        {"pass_token": "p", "lease_until": NOW - 100},
        {"suspended": True},
        {"phase": "tearing_down"},
    ],
    ids=str,
)
def test_what_another_is_at_or_nobody_may_be_at_is_not_ended(store: Store, changes: dict[str, Any]) -> None:
    claim = ready(store)
    change(store, **changes)
    assert confirmed(store, claim) == set()
    assert row_of(store).claim_token == claim.token


def test_a_claim_that_came_after_is_not_ended(store: Store) -> None:
    """The glance was slow: another pass was made meanwhile, and the row fell due again."""
    claim = ready(store)
    assert confirmed(store, claim) == {"i"}
    with store.write() as connection:
        (again,) = schedule.claim_due(connection, now=NOW + 20, limit=5, token="beat", batch=5)
    assert again.token != claim.token
    assert confirmed(store, claim) == set()
    assert row_of(store).claim_token == again.token


def _wake(connection: sa.Connection) -> None:
    schedule.wake(connection, "i", now=NOW, token="w")


def _lease(connection: sa.Connection) -> None:
    claim = Claim(token="first", infra_ids=("i",))
    assert leases.take(connection, claim, now=NOW, until=NOW + 30, pass_token="p")


def _detach(connection: sa.Connection) -> None:
    infrastructures.change(connection, "i", attach_epoch=2)
    schedule.delete(connection, "i")


@pytest.mark.parametrize("act", [_wake, _lease, _detach], ids=lambda act: act.__name__)
def test_what_commits_while_the_end_waits_for_it_is_seen(store: Store, act: Callable[[sa.Connection], None]) -> None:
    """The statement began before, and saw the infrastructure as it was."""
    claim, ended = ready(store), []
    ending = threading.Thread(target=lambda: ended.append(confirmed(store, claim)))
    with store.write() as connection:
        act(connection)
        ending.start()
        ending.join(0.3)
        assert ending.is_alive(), "it waits for the row"
    ending.join()
    assert ended == [set()]
