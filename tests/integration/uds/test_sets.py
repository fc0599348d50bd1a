"""Conditions on a set in one parameter, and the statements of every pass, which rest on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from occo_celery.model.message import Claim
from occo_celery.uds import accounts, glances, leases, nodes, operations, schedule, tables
from occo_celery.uds.sets import among
from occo_celery.uds.store import Store
from tests.integration.uds.test_schedule import managed

I = tables.infrastructures  # noqa: E741  # as in the statements that this is about
IDS = ["i", "k"]
STEADY = [schedule.Outcome(infra_id="i", wake_seen=0, steady=True)]
RELEASED = {"i": schedule.Released(infra_id="i", wake=0, generation=1, name="i")}

#: PostgreSQL has no NUL and no halves of characters.
IDENTIFIERS = st.text(
    st.one_of(st.sampled_from("\\\"{},' ;NUL"), st.characters(codec="utf-8", exclude_characters="\0"))
)

STATEMENTS: dict[str, Callable[[sa.Connection], Any]] = {
    "alone": lambda connection: connection.execute(
        sa.select(I.c.name).where(among(I.c.infra_id, "ids")), {"ids": IDS}
    ),
    "take": lambda connection: leases.take(
        connection, Claim(token="t", infra_ids=("i", "k")), now=1.0, until=2.0, pass_token="p"
    ),
    "glances": lambda connection: glances.take(connection, Claim(token="t", infra_ids=("i", "k"))),
    "confirm": lambda connection: glances.confirm(connection, "t", {"i": 1, "k": 2}, now=1.0, duration=0.1),
    "read": lambda connection: leases.read(connection, "p", IDS),
    "release": lambda connection: leases.release(connection, "p", IDS),
    "standings": lambda connection: accounts.standings(connection, ["one"], since=1.0, most=lambda *_: 5),
    "claim schedule": lambda connection: schedule.claim_due(connection, now=1e10, limit=5, token="t", batch=5),
    "claim operations": lambda connection: operations.claim_due(connection, now=1e10, limit=5, resend=1.0),
    "finish": lambda connection: schedule.finish(connection, STEADY, RELEASED, now=1.0, duration=0.1),
}


@pytest.mark.parametrize("infra_ids", [(), ("i",), ("other",), ("i", "other")], ids=str)
def test_members_are_found(store: Store, infra_ids: tuple[str, ...]) -> None:
    managed(store, "i")
    with store.read() as connection:
        found = connection.execute(sa.select(I.c.infra_id).where(among(I.c.infra_id, "ids")), {"ids": infra_ids})
        assert set(found.scalars()) == {"i"} & set(infra_ids)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(IDENTIFIERS, max_size=5), one=IDENTIFIERS)
def test_identifiers_may_hold_anything(store: Store, some: list[str], one: str) -> None:
    asked = [*some, *(member[:-1] for member in some), f'"{one}"', f'{one}","', "NULL", f"\\{one}"]
    statement = sa.select(sa.literal(1)).where(among(sa.bindparam("one", type_=sa.Text()), "ids"))
    with store.read() as connection:
        for member in asked:
            expected = [1] if member in some else []
            assert list(connection.execute(statement, {"one": member, "ids": some}).scalars()) == expected


@pytest.mark.parametrize("name", STATEMENTS)
def test_rows_are_found_by_key_however_many_there_are(store: Store, name: str) -> None:
    with store.write() as connection, plans(store) as found:
        STATEMENTS[name](connection)
    assert found
    for plan in found:
        lines = plan.splitlines()
        # What the statement itself has found; and accounts, which are few (once a statement, not for each row).
        ours = ("SCAN json_each", "SCAN wakes", "SCAN due", "SCAN anon_1", "SCAN accounts")
        assert not [line for line in lines if line.startswith("SCAN ") and not line.startswith(ours)], plan
        assert not [line for line in lines if "Seq Scan" in line and "on accounts" not in line], plan
        if name.startswith("claim"):  # in a large table PostgreSQL would go through all of it to join
            assert not [line for line in lines if "Join" in line or "Nested Loop" in line], plan
        # A set that is named twice is gone through anew for each row that is found.
        assert sum("ANY (" in line and "Index Cond" in line for line in lines) <= 1, plan


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_plan_is_kept_however_few_there_are(store: Store) -> None:
    """psycopg prepares what comes for the fifth time, and PostgreSQL plans five more of these anew."""
    row = {"name": "x", "phase": "submitted", "generation": 1, "targets": {}, "created_at": 0.0}
    with store.write() as connection:
        connection.execute(I.insert(), [{"infra_id": f"i{number}", **row} for number in range(3000)])
        connection.execute(sa.text("ANALYZE infrastructures"))
        statement = sa.select(I.c.name).where(among(I.c.infra_id, "ids"))
        for _ in range(15):
            assert connection.execute(statement, {"ids": ["i7"]}).scalar() == "x"
        kept = sa.text("SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE '%ANY%'")
        assert connection.execute(kept).scalar()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ["read", "glances"])
def test_instances_of_one_are_found_by_key_among_few_large_infrastructures(store: Store, name: str) -> None:
    """Ten infrastructures, for which PostgreSQL takes any set, are all that there is, of instances too."""
    some = [f"i{number}" for number in range(10)]
    claims = {infra_id: managed(store, infra_id) for infra_id in some}
    with store.write() as connection:
        nodes.insert(connection, some[0], {f"{some[0]}-{number}": "a" for number in range(1000)}, now=0.0)
        connection.execute(
            tables.nodes.update().values(implementation={"image": 1500 * "x"})
        )  # rows as wide as real ones
        copied = [column.name for column in tables.nodes.c if column.name not in ("node_id", "infra_id")]
        for infra_id in some[1:]:
            made = [sa.literal(f"{infra_id}-") + tables.nodes.c.node_id, sa.literal(infra_id)]
            of_first = sa.select(*made, *(tables.nodes.c[one] for one in copied)).where(
                tables.nodes.c.infra_id == some[0]
            )
            connection.execute(tables.nodes.insert().from_select(["node_id", "infra_id", *copied], of_first))
        connection.execute(I.update().values(ready_since=0.0))
        for table in tables.metadata.tables:
            connection.execute(sa.text(f"ANALYZE {table}"))
        with plans(store) as found:
            if name == "read":
                leases.take(connection, claims["i7"], now=1.0, until=2.0, pass_token="p")
                assert len(leases.read(connection, "p", ["i7"])[0].instances) == 1000
            else:
                assert len(glances.take(connection, claims["i7"])["i7"]) == 1000
    assert not [plan for plan in found if "Seq Scan on nodes" in plan], found


@contextlib.contextmanager
def plans(store: Store) -> Iterator[list[str]]:
    """How the database carries out what is executed meanwhile, one text a statement."""
    found: list[str] = []
    explain = "EXPLAIN " if store.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "

    def look(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        cursor.execute(explain + statement, parameters)
        found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))

    sa.event.listen(store.engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", look)
