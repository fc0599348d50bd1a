"""The planner: scenarios as data, and properties that hold for every infrastructure."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from occo_celery.model import instruction
from occo_celery.model.instance import Replacement
from occo_celery.planner import plan, scaling
from tests.unit.planner import making

ASKED = Replacement.ASKED
NONE = scaling.Scaled(targets={})
SCENARIOS = yaml.safe_load((pathlib.Path(__file__).parents[2] / "scenarios" / "planner.yaml").read_text())


def words(one: instruction.Instruction, numbers: dict[str, int]) -> str:
    match one:
        case instruction.CreateInfrastructure():
            return "bootstrap"
        case instruction.CreateNode():
            return f"create {one.node_name}"
        case instruction.DropNode():
            return f"drop {numbers[one.node_id]}"
        case instruction.ReplaceNode():
            return f"replace {numbers[one.node_id]}"


@pytest.mark.parametrize("case", SCENARIOS, ids=[case["name"] for case in SCENARIOS])
def test_scenario(case: dict[str, Any]) -> None:
    nodes = {name: one if isinstance(one, dict) else {"count": one} for name, one in case["nodes"].items()}
    desired = making.a_description(
        {name: one.get("count", 1) for name, one in nodes.items()},
        {name: one.get("after", []) for name, one in nodes.items()},
        {name: one["max"] for name, one in nodes.items() if "max" in one},
        {name: one["awaits"] for name, one in nodes.items() if "awaits" in one},
    )
    there = [
        making.an_instance(
            number,
            name,
            *state,
            addresses=("10.0.0.1",) if state[0] == "ready" else (),
            implementation={"contextualisation": {"attributes": dict.fromkeys(nodes[name].get("offers", ()))}}
            if name in nodes
            else None,
        )
        for number, (name, *state) in enumerate(case["there"])
    ]
    delta = plan.plan(
        desired,
        there,
        scaling.Scaled(
            targets=case.get("targets", {}),
            victims=frozenset(there[number].node_id for number in case.get("victims", ())),
        ),
        bootstrapped=case.get("bootstrapped", True),
        limits=plan.Limits(strategy=case.get("strategy", "sequential"), downscale=case.get("downscale", "simple")),
        held=case.get("held", ()),
    )
    numbers = {one.node_id: number for number, one in enumerate(there)}
    assert [words(one, numbers) for one in delta.instructions] == case["then"]
    assert {name: reason.text() for name, reason in delta.waiting.items()} == case.get("waits", {})
    assert delta.ready is case.get("ready", False)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Any, list[Any], str]:
    """Any acyclic infrastructure with any instances in any states."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 6)))]
    counts = {name: draw(st.integers(0, 3)) for name in names}
    on = {
        name: draw(st.lists(st.sampled_from(names[:number]), unique=True)) if number else []
        for number, name in enumerate(names)
    }
    there = [
        making.an_instance(number, name, state)
        for number, (name, state) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.sampled_from([*names, "old"]), st.sampled_from(list(making.STATES))), max_size=12
                )
            )
        )
    ]
    return making.a_description(counts, on), there, draw(st.sampled_from(["sequential", "parallel"]))


def carried_out(there: list[Any], delta: instruction.Delta) -> list[Any]:
    """What is there when the delta has been recorded, before anything came of it."""
    dropped = {one.node_id for one in delta.instructions if isinstance(one, instruction.DropNode)}
    marked = {one.node_id for one in delta.instructions if isinstance(one, instruction.ReplaceNode)}
    there = [dataclasses.replace(one, outdated=ASKED) if one.node_id in marked else one for one in there]
    made = [one.node_name for one in delta.instructions if isinstance(one, instruction.CreateNode)]
    return [one for one in there if one.node_id not in dropped] + [
        making.an_instance(100 + number, name, "planned") for number, name in enumerate(made)
    ]


@given(situations())
def test_a_second_plan_after_the_first_is_empty(situation: tuple[Any, list[Any], str]) -> None:
    desired, there, strategy = situation
    limits = plan.Limits(strategy=strategy)
    delta = plan.plan(desired, there, NONE, bootstrapped=True, limits=limits)
    again = plan.plan(desired, carried_out(there, delta), NONE, bootstrapped=True, limits=limits)
    assert again.instructions == ()


@given(situations())
def test_never_more_than_the_target_nor_before_dependees_are_ready(situation: tuple[Any, list[Any], str]) -> None:
    desired, there, strategy = situation
    delta = plan.plan(desired, there, NONE, bootstrapped=True, limits=plan.Limits(strategy=strategy))
    after = [one for one in carried_out(there, delta) if one.alive]
    for node in desired.nodes:
        assert sum(one.node_name == node.name for one in after) <= node.scaling.min
    ready = plan.ready_counts(after)
    for one in delta.instructions:
        if isinstance(one, instruction.CreateNode):
            for name in desired.dependees[one.node_name]:
                assert ready.get(name, 0) >= desired.node_lookup[name].scaling.min


@given(situations())
def test_what_is_unknown_or_being_dropped_is_never_touched(situation: tuple[Any, list[Any], str]) -> None:
    desired, there, strategy = situation
    delta = plan.plan(desired, there, NONE, bootstrapped=True, limits=plan.Limits(strategy=strategy))
    dropped = {one.node_id: one.why for one in delta.instructions if isinstance(one, instruction.DropNode)}
    for one in there:
        if not one.alive:
            assert one.node_id not in dropped
        elif one.status.value in ("unknown", "temp_failed") and one.node_id in dropped:
            assert dropped[one.node_id] in ("surplus", "removed")


@given(situations())
def test_sequential_has_one_creation_in_flight(situation: tuple[Any, list[Any], str]) -> None:
    desired, there, _ = situation
    delta = plan.plan(desired, there, NONE, bootstrapped=True, limits=plan.Limits(strategy="sequential"))
    if any(isinstance(one, instruction.CreateNode) for one in delta.instructions):
        assert sum(one.in_flight for one in carried_out(there, delta)) == 1


@given(situations(), st.sets(st.integers(0, 11)))
def test_who_was_named_goes_but_never_below_the_target(situation: tuple[Any, list[Any], str], some: set[int]) -> None:
    desired, there, strategy = situation
    named = {one.node_id for number, one in enumerate(there) if number in some}
    scaled, limits = scaling.Scaled(targets={}, victims=frozenset(named)), plan.Limits(strategy=strategy)
    delta = plan.plan(desired, there, scaled, bootstrapped=True, limits=limits)
    after = carried_out(there, delta)
    surplus = {
        one.node_id for one in delta.instructions if isinstance(one, instruction.DropNode) and one.why == "surplus"
    }
    for node in desired.nodes:
        alive = [one for one in there if one.alive and one.node_name == node.name]
        left = [one for one in alive if one.node_id not in surplus]
        assert len(left) >= min(len(alive), node.scaling.min)
    for one in after:
        if one.alive and one.node_id in named and one.node_name in desired.node_lookup:
            assert one.outdated is ASKED
    assert plan.plan(desired, after, NONE, bootstrapped=True, limits=limits).instructions == ()
