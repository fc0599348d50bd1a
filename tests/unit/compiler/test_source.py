"""The reader by itself: scalars of YAML 1.2 against PyYAML's 1.1, places, the graph at its worst."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.compiler import graph, places, resolution, source


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("n", "n"), ("true", True), ("FALSE", False), ("tRue", "tRue"), ("null", None),
        ("~", None), ("", None), ("12", 12), ("-0", 0), ("+7", 7), ("0777", 777), ("0o17", 15), ("0x1F", 31),
        ("1_000", "1_000"), ("1:59:59", "1:59:59"), ("2024-01-01", "2024-01-01"), ("1.5", 1.5), (".5", 0.5),
        ("1e3", 1000.0), ("1.e+2", 100.0), ("0b1", "0b1"), ("1.2.3", "1.2.3"), ("-", "-"), ("+.5e-1", 0.05),
        ("18446744073709551615", 2**64 - 1), ("-9223372036854775808", -(2**63)),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any) -> None:
    found = resolution.resolve(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".NaN", "1e400", "18446744073709551616", "9" * 100])
def test_scalars_that_are_refused(text: str) -> None:
    with pytest.raises(resolution.NotJson):
        resolution.resolve(text)


@settings(deadline=None)
@given(st.text("0123456789+-._:eExob ynNoOfFtrueals", min_size=1, max_size=10))
def test_what_is_read_without_warning_reads_the_same_in_yaml_1_1(text: str) -> None:
    try:
        report = source.read_text(f"- {text}\n")
        expected = yaml.safe_load(f"- {text}\n")
    except (errors.SchemaError, yaml.YAMLError, ValueError):
        return
    if not report.problems and not report.warnings:
        assert report.root == expected


def test_places_count_from_1_and_in_characters() -> None:
    report = source.read_text('ö: "äö" # x\nlist: [a, {\U0001d4b3: b, key: c}]\n')
    report.add(("list", 1, "key"), "the value")
    report.add(("list", 1, "key"), "the key", key=True)
    found = [(one.message, one.line, one.column, one.path) for one in report.problems]
    assert found == [("the value", 2, 23, "list[1].key"), ("the key", 2, 18, "list[1].key")]


def test_an_alias_is_the_same_object() -> None:
    root = source.read_text("a: &a {x: 1}\nb: [*a, *a]\n").root
    assert root["b"][0] is root["a"] is root["b"][1]


@pytest.mark.parametrize(
    ("path", "spelt"),
    [
        (("a", 0, "b"), "a[0].b"),
        ((0,), "[0]"),
        (("a.b", "c d"), "['a.b']['c d']"),
        ((1, None), "[1][None]"),
        ((), ""),
    ],
)
def test_paths(path: places.Path, spelt: str) -> None:
    assert places.spell(path) == spelt


@pytest.mark.parametrize("shape", ["ladder", "chain of rings", "one ring", "tails"])
def test_cycles_are_found_in_linear_time(shape: str) -> None:
    """Graphs that are quadratic for a walk that begins anew after each cycle."""
    count = 20_000
    names = [f"n{number}" for number in range(2 * count)]
    chain = [(names[number], names[number + 1]) for number in range(count - 1)]
    rings = [(one, other) for one, other in zip(names[count::2], names[count + 1 :: 2], strict=True)]
    rings += [(other, one) for one, other in rings]
    edges = {
        "ladder": [(f"n{number}", f"n{number + 1}") for number in range(2 * count - 1)]
        + [(f"n{number + 1}", f"n{number}") for number in range(2 * count - 1)],
        "chain of rings": chain + rings + [(names[count - 1], name) for name in names[count:]],
        "one ring": [*chain, (names[count - 1], names[0])],
        "tails": rings + [(name, names[count]) for name in names[:count]],
    }[shape]
    began = time.process_time()
    found = graph.cycles(names, edges)
    assert time.process_time() - began < 10
    assert len(found) >= 1
