"""Claims, leases, wake-ups: who may make a pass, on each engine."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery.model.message import Claim
from occo_celery.uds import infrastructures, leases, schedule, tables
from occo_celery.uds.store import Store
from tests.unit.planner import making

NOW = 1_000_000.0


def managed(
    store: Store, infra_id: str, *, interval: float = 10.0, longest: float | None = None, now: float = NOW
) -> Claim:
    """Submit and attach an infrastructure; its first claim."""
    desired = making.a_description({"a": 1}, {})
    desired = type(desired).from_json(infra_id, desired.to_json())
    with store.write() as connection:
        infrastructures.insert(connection, desired, now=now)
        infrastructures.change(connection, infra_id, attach_epoch=1)
        return schedule.insert(
            connection,
            infra_id,
            epoch=1,
            interval=interval,
            longest=longest or interval,
            strategy="sequential",
            claim="first",
            now=now,
        )


def everything(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(tables.infrastructures.c.infra_id)).scalars())


def lease(store: Store, claim: Claim, token: str = "p", now: float = NOW) -> int:
    with store.write() as connection:
        return len(leases.take(connection, claim, now=now, until=now + 30, pass_token=token))


def release(
    store: Store,
    token: str = "p",
    now: float = NOW,
    *,
    look: float | None = None,
    steady: bool = False,
    took: float = 0.0,
) -> list[str]:
    with store.write() as connection:
        released = leases.release(connection, token, everything(connection))
        outcomes = [
            schedule.Outcome(infra_id=infra_id, wake_seen=0, look_again=look, steady=steady) for infra_id in released
        ]
        woken = schedule.finish(connection, outcomes, released, now=now, duration=took)
    return [one.infra_id for one in woken]


def claim_due(store: Store, now: float, token: str = "beat") -> list[Claim]:
    with store.write() as connection:
        return list(schedule.claim_due(connection, now=now, limit=500, token=token, batch=200))


def test_a_doubled_message_makes_one_pass(store: Store) -> None:
    claim = managed(store, "i")
    assert lease(store, claim) == 1
    assert lease(store, claim, "q") == 0, "while the first is at it"
    release(store)
    assert lease(store, claim, "q") == 0, "and after it has ended"


def test_a_message_that_was_lost_is_sent_again_when_the_row_is_next_due(store: Store) -> None:
    first = managed(store, "i")
    (again,) = claim_due(store, NOW + 10)
    assert (again.token, again.infra_ids) == (first.token, first.infra_ids), (
        "under the same token: one that was only late is still good"
    )
    assert lease(store, again) == 1


def test_missed_times_collapse_and_stay_in_phase(store: Store) -> None:
    managed(store, "i")
    assert len(claim_due(store, NOW + 95)) == 1
    with store.read() as connection:
        row = schedule.get(connection, "i")
    assert row is not None
    assert NOW + 95 < row.next_due <= NOW + 105
    assert abs((row.next_due - row.phase) % 10.0) < 1e-3


def test_a_stale_holder_cannot_release(store: Store) -> None:
    claim = managed(store, "i")
    lease(store, claim, "old")
    assert lease(store, claim, "new", now=NOW + 31) == 1, "the lease ran out"
    with store.write() as connection:
        assert leases.release(connection, "old", everything(connection)) == {}


def test_a_wake_up_during_a_pass_is_not_swallowed(store: Store) -> None:
    lease(store, managed(store, "i"))
    with store.write() as connection:
        assert schedule.wake(connection, "i", now=NOW, token="w") is None, "the release will see it"
    assert release(store) == ["i"]


@pytest.mark.parametrize(("took", "gap"), [(0.0, 0.02), (0.007, 0.013), (0.015, 0.015), (3.0, 3.0)])
def test_a_wake_up_is_a_claim_and_keeps_the_gap(store: Store, took: float, gap: float) -> None:
    """From the beginning of the last pass: 20 ms at least, and twice what it took; by a clock behind it no longer."""
    lease(store, managed(store, "i"))
    release(store, took=took)
    for since, after in ((0.0, gap), (gap + 0.001, 0.0), (-5.0, took + gap)):
        with store.write() as connection:
            claim = schedule.wake(connection, "i", now=NOW + since, token="w")
        assert claim is not None
        assert claim.after == pytest.approx(after, abs=1e-5)
    assert lease(store, claim) == 1


def test_a_pass_that_wants_to_look_again_soon_is_due_then(store: Store) -> None:
    lease(store, managed(store, "i"))
    release(store, look=0.5)
    assert claim_due(store, NOW + 0.4) == []
    assert len(claim_due(store, NOW + 0.5)) == 1


def test_a_detached_infrastructure_is_not_leased(store: Store) -> None:
    claim = managed(store, "i")
    with store.write() as connection:
        schedule.delete(connection, "i")
        infrastructures.change(connection, "i", attach_epoch=2)
    assert lease(store, claim) == 0


def test_a_claim_of_an_earlier_attach_is_not_leased(store: Store) -> None:
    claim = managed(store, "i")
    with store.write() as connection:
        infrastructures.change(connection, "i", attach_epoch=3)
    assert lease(store, claim) == 0


def test_three_beats_at_once_share_the_rows(store: Store) -> None:
    count = 60
    for number in range(count):
        managed(store, f"i{number}")
    found: list[Claim] = []
    start = threading.Barrier(3)

    def beat(name: str) -> None:
        start.wait()
        while some := claim_few(store, name):
            found.extend(some)

    threads = [threading.Thread(target=beat, args=(f"b{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = Counter(infra_id for claim in found for infra_id in claim.infra_ids)
    assert times == dict.fromkeys((f"i{number}" for number in range(count)), 1)


def test_a_detach_that_commits_while_a_lease_waits_for_it_is_seen(store: Store) -> None:
    """The lease's statement began before, and saw the infrastructure as it was."""
    claim, leased = managed(store, "i"), []
    taking = threading.Thread(target=lambda: leased.append(lease(store, claim)))
    with store.write() as connection:
        infrastructures.change(connection, "i", attach_epoch=2)
        schedule.delete(connection, "i")
        taking.start()
        taking.join(0.3)
        assert taking.is_alive(), "it waits for the row"
    taking.join()
    assert leased == [0]


def claim_few(store: Store, token: str) -> list[Claim]:
    with store.write() as connection:
        return list(schedule.claim_due(connection, now=NOW + 20, limit=7, token=token, batch=200))


def test_the_interval_of_what_is_steady_doubles_up_to_the_longest(store: Store) -> None:
    claim, now, gaps = managed(store, "i", longest=50.0), NOW, []
    for _ in range(6):
        assert lease(store, claim, now=now) == 1
        release(store, now=now, steady=True)
        gaps.append(due(store, "i") - now)
        now = due(store, "i")
        (claim,) = claim_due(store, now)
    # In phase with the new interval: the first step to it may be shorter.
    assert all(0 < gap <= most for gap, most in zip(gaps, (10, 20, 40, 50, 50, 50), strict=True))
    assert sum(gaps) > 100
    assert gaps[-2:] == [50, 50]


def test_whatever_happens_brings_the_interval_back(store: Store) -> None:
    for number, ending in enumerate(({"steady": False}, {"look": 300.0}, {"steady": True, "wake": True})):
        infra_id, now = f"i{number}", NOW
        claim = managed(store, infra_id, longest=80.0)
        for _ in range(4):
            assert lease(store, claim, now=now) == 1
            release(store, now=now, steady=True)
            now = due(store, infra_id)
            (claim,) = claim_due(store, now)
        if ending.pop("wake", False):
            with store.write() as connection:
                schedule.wake(connection, infra_id, now=now, token="w")
        lease(store, claim, now=now)
        release(store, now=now, **ending)  # type: ignore[arg-type]
        assert due(store, infra_id) - now <= 10, ending
        with store.write() as connection:
            schedule.delete(connection, infra_id)


def test_a_lost_message_of_what_is_steady_is_sent_again_after_the_short_interval(store: Store) -> None:
    claim, now = managed(store, "i", longest=80.0), NOW
    for _ in range(4):
        lease(store, claim, now=now)
        release(store, now=now, steady=True)
        now = due(store, "i")
        (claim,) = claim_due(store, now)
    assert due(store, "i") - now == 10


@pytest.mark.parametrize("ending", [{"steady": True}, {"look": 1.0}, {}], ids=str)
def test_what_was_suspended_during_its_pass_is_not_due_when_that_ends(store: Store, ending: dict[str, Any]) -> None:
    lease(store, managed(store, "i", longest=80.0))
    with store.write() as connection:
        infrastructures.change(connection, "i", suspended=True)
        schedule.rest(connection, "i")
    release(store, **ending)
    assert due(store, "i") == schedule.NEVER


def due(store: Store, infra_id: str) -> float:
    with store.read() as connection:
        row = schedule.get(connection, infra_id)
    assert row is not None
    return row.next_due
