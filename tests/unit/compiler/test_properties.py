"""What holds for every description: order, cycles, round trips, and that no text brings the compiler down."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.compiler import graph
from occo_celery.model import description
from tests.unit.compiler import making

Edges = list[tuple[int, int]]


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool) -> tuple[list[str], list[tuple[str, str]]]:
    """Node names in some order of the document, and edges (dependent, dependee) between them."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 12)))]
    some = st.integers(0, len(names) - 1)
    pairs: Edges = draw(st.lists(st.tuples(some, some).filter(lambda pair: pair[0] != pair[1]), max_size=30))
    if acyclic:
        pairs = [(max(pair), min(pair)) for pair in pairs]
    return draw(st.permutations(names)), [(names[a], names[b]) for a, b in pairs]


def data(names: list[str], edges: list[tuple[str, str]]) -> dict[str, Any]:
    nodes = [{"name": name, "type": "db"} for name in names]
    return {"infra_name": "shop", "nodes": nodes, "dependencies": [list(edge) for edge in edges]}


@settings(deadline=None, max_examples=100)
@given(graphs(acyclic=True))
def test_levels_respect_edges_and_are_minimal(case: tuple[list[str], list[tuple[str, str]]]) -> None:
    names, edges = case
    order = making.described(data(names, edges)).topological_order
    level = {name: number for number, some in enumerate(order) for name in some}
    assert sorted(level) == sorted(names)
    for name in names:
        assert level[name] == max(
            (level[dependee] + 1 for dependent, dependee in edges if dependent == name), default=0
        )
    for some in order:
        assert list(some) == sorted(some, key=names.index)


@settings(deadline=None, max_examples=100)
@given(graphs(acyclic=False))
def test_a_printed_cycle_is_one_and_none_is_left(case: tuple[list[str], list[tuple[str, str]]]) -> None:
    names, edges = case
    rings = graph.cycles(names, edges)
    told = []
    try:
        making.compiled(data(names, edges))
    except errors.SchemaError as problem:
        told = [re.sub(".*: ", "", one.message).split(" -> ") for one in problem.problems]
    assert sorted(told) == sorted([*ring, ring[0]] for ring in rings)
    for ring in rings:
        assert len(set(ring)) == len(ring)
        assert all(edge in edges for edge in zip(ring, [*ring[1:], ring[0]], strict=True))
    inside = {name for ring in rings for name in ring}
    assert len(inside) == sum(len(ring) for ring in rings)
    left = [name for name in names if name not in inside]
    kept = [edge for edge in edges if not inside & set(edge)]
    assert sum(len(level) for level in graph.levels(left, kept)) == len(left)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc-. ", max_size=3), below, max_size=3),
    max_leaves=8,
)
_MAPPINGS = st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), _JSON, max_size=4)


@settings(deadline=None, max_examples=100)
@given(graphs(acyclic=True), _MAPPINGS, st.lists(_MAPPINGS, min_size=12, max_size=12))
def test_round_trip(case: tuple[list[str], list[tuple[str, str]]], shared: dict[str, Any], own: list[Any]) -> None:
    document = data(*case) | {"variables": shared}
    for node, variables in zip(document["nodes"], own, strict=False):
        node["variables"] = variables
    made = making.described(document)
    stored = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert description.StaticDescription.from_json("infra-1", stored) == made


@settings(deadline=None, max_examples=100)
@given(graphs(acyclic=True), st.booleans())
def test_yaml_with_aliases_and_data_compile_alike(case: tuple[list[str], list[tuple[str, str]]], flow: bool) -> None:
    document = data(*case)
    nodes = {node["name"]: node for node in document["nodes"]}
    shared = {**document, "dependencies": [[nodes[a], nodes[b]] for a, b in case[1]]}
    text = yaml.safe_dump(shared, default_flow_style=flow)
    assert making.described(text) == making.described(document) == making.described(shared)


def _compiles_or_says_why(source: Any) -> None:
    try:
        made = making.compiled(source)
    except errors.SchemaError:
        return
    json.dumps(made.description.to_json(), allow_nan=False)


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_any_text(text: str) -> None:
    _compiles_or_says_why(text + "\n")


_WORDS = [
    "infra_name: a\n",
    "nodes:\n",
    "  - ",
    "name: ",
    "type: db\n",
    "dependencies:",
    "&a ",
    "*a",
    "\n",
    "<<: ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "- ",
    ": ",
    "? ",
    "!yaml_import ",
    "!!int ",
    "| ",
    "> ",
    "'",
    '"',
    "#",
    "%",
    "---\n",
    "...\n",
    "\t",
    "  ",
    "x",
    "1",
    ".inf",
    "~",
    "\x85",
    "\ufeff",
    "\0",
    "\ud800",
    "\U0001f600",
]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(_WORDS), max_size=25))
def test_any_yaml_words(words: list[str]) -> None:
    _compiles_or_says_why("".join(words) + "\n")


_KEYS = st.sampled_from(
    [
        "infra_name",
        "nodes",
        "name",
        "type",
        "scaling",
        "min",
        "max",
        "dependencies",
        "connection",
        "mappings",
        "attributes",
        "synch",
        "variables",
        "filter",
        "user_id",
        "nod",
        1,
        None,
    ]
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "b", "db", "web", "", "x y"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(_KEYS, below, max_size=5),
    max_leaves=30,
)


@settings(deadline=None, max_examples=300)
@given(_ANY, _ANY, _ANY)
def test_any_data(top: Any, nodes: Any, dependencies: Any) -> None:
    _compiles_or_says_why({"infra_name": "a", "nodes": nodes, "dependencies": dependencies, "variables": top})
    _compiles_or_says_why(
        {
            "infra_name": "a",
            "nodes": [nodes, {"name": "a", "type": "db", "filter": top}],
            "dependencies": [dependencies, [nodes, "a"]],
        }
    )
    if isinstance(top, dict):
        _compiles_or_says_why(top)
