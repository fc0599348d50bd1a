"""Who travels together: phases shared by the infrastructures of an account, on each engine."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from occo_celery.uds import phases, schedule, tables
from occo_celery.uds.store import Store
from tests.integration.uds.test_schedule import NOW, managed

INTERVAL = 10.0


def joined(store: Store, count: int, account: str, room: int) -> Counter[float]:
    """So many infrastructures of an account, one after the other; how many share each phase."""
    for number in range(count):
        infra_id = f"{account}{number}"
        managed(store, infra_id, interval=INTERVAL)
        with store.write() as connection:
            phases.join(connection, infra_id, account, room=room)
    with store.read() as connection:
        table = tables.schedule
        return Counter(
            connection.execute(sa.select(table.c.phase).where(table.c.infra_id.like(f"{account}%"))).scalars()
        )


def test_those_of_an_account_fill_one_phase_after_the_other(store: Store) -> None:
    assert sorted(joined(store, 8, "a", room=3).values()) == [2, 3, 3]


def test_accounts_do_not_share_phases(store: Store) -> None:
    assert not joined(store, 4, "a", room=3).keys() & joined(store, 4, "b", room=3).keys()


def test_joining_again_changes_nothing(store: Store) -> None:
    before = joined(store, 4, "a", room=3)
    with store.write() as connection:
        phases.join(connection, "a1", "a", room=3)
        assert Counter(connection.execute(sa.select(tables.schedule.c.phase)).scalars()) == before


def test_who_has_joined_stays_where_others_have_left_room_before(store: Store) -> None:
    joined(store, 6, "a", room=3)
    with store.write() as connection:
        (place,) = connection.execute(sa.select(tables.schedule.c.phase).where(tables.schedule.c.infra_id == "a5"))
        schedule.delete(connection, "a0")
        phases.join(connection, "a5", "a", room=3)
        assert connection.execute(
            sa.select(tables.schedule.c.phase).where(tables.schedule.c.infra_id == "a5")
        ).all() == [place]


def test_what_is_not_managed_any_more_joins_nobody(store: Store) -> None:
    with store.write() as connection:
        phases.join(connection, "nobody", "a", room=3)
        assert connection.execute(sa.select(tables.schedule)).all() == []


def test_more_than_the_first_phases_hold_spread_over_further_ones(store: Store) -> None:
    filled = joined(store, 3 * phases.FIRST + 12, "a", room=3)
    assert max(filled.values()) == 3
    assert all(0 <= phase < INTERVAL for phase in filled)


def test_many_of_one_account_are_spread_evenly(store: Store) -> None:
    for count in (1, 2, 5, 50, 1000):
        found = sorted(phases.shared("a", number, INTERVAL) for number in range(count))
        gaps = [late - early for early, late in zip(found, [*found[1:], found[0] + INTERVAL], strict=True)]
        assert max(gaps) <= 2 * INTERVAL / count + 1e-9


def test_those_that_share_a_phase_travel_together(store: Store) -> None:
    joined(store, 6, "a", room=3)
    joined(store, 3, "b", room=3)
    with store.write() as connection:
        claims = schedule.claim_due(connection, now=NOW + 2 * INTERVAL, limit=100, token="t", batch=4)
    together = {frozenset(one[0] for one in claim.infra_ids) for claim in claims}
    assert [len(claim.infra_ids) for claim in claims] == [3, 3, 3]
    assert all(len(accounts) == 1 for accounts in together)


def test_a_group_larger_than_a_message_is_divided(store: Store) -> None:
    joined(store, 7, "a", room=100)
    with store.write() as connection:
        claims = schedule.claim_due(connection, now=NOW + 2 * INTERVAL, limit=100, token="t", batch=3)
    assert sorted(len(claim.infra_ids) for claim in claims) == [1, 3, 3]


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 12))
def test_messages_are_filled_and_no_group_is_divided_that_fits(sizes: list[int], batch: int) -> None:
    groups = [[f"{group}-{number}" for number in range(size)] for group, size in enumerate(sizes)]
    sets = [list(some) for some in schedule.packed(groups, batch)]
    assert sorted(one for some in sets for one in some) == sorted(one for group in groups for one in group)
    assert all(0 < len(some) <= batch for some in sets)
    for group in groups:
        holders = [some for some in sets if set(some) & set(group)]
        assert len(holders) == -(-len(group) // batch), "as few as can be"
    # No two could have been one.
    smallest = sorted(map(len, sets))[:2]
    assert len(smallest) < 2 or sum(smallest) > batch
