"""Descriptions as data: wrong ones beside what is said of them, right ones beside what becomes of them."""

from __future__ import annotations

import json
import pathlib
import types
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.compiler import compile as compiler
from tests.unit.compiler import making

HERE = pathlib.Path(__file__).parent
WRONG = sorted(HERE.glob("wrong/*.yaml"))
RIGHT = sorted(HERE.glob("right/*.yaml"))


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong(path: pathlib.Path) -> None:
    assert making.report(path.read_text()) == path.with_suffix(".report").read_text().rstrip("\n")


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_right(path: pathlib.Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())
    compiled = making.compiled(path.read_text())
    assert compiled.description.to_json() == expected["description"]
    assert list(compiled.warnings) == expected["warnings"]


def test_enough_of_them() -> None:
    assert len(WRONG) >= 30


# --- where a description comes from ------------------------------------------------------------------------------

TEXT = "infra_name: shop\nnodes: [{name: a, type: db}]\n"


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_file(tmp_path: pathlib.Path, kind: type) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("\ufeff" + TEXT, encoding="utf-8")  # a byte order mark, as some editors write it
    assert making.described(kind(path)).name == "shop"


def test_places_in_a_file_name_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(TEXT.replace("db", "dbb"))
    said = f"{path}:2:25: nodes[0].type: there is no definition of node type 'dbb' (did you mean 'db'?)"
    assert making.report(path) == said


def test_one_line_is_a_text_when_it_has_a_colon_and_a_space() -> None:
    assert making.described("{infra_name: shop, nodes: []}").name == "shop"


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_no_such_file(kind: type) -> None:
    assert making.report(kind("absent.yaml")) == "absent.yaml: no such file"


def test_what_is_no_file(tmp_path: pathlib.Path) -> None:
    assert making.report(tmp_path) == f"{tmp_path}: not a regular file"
    assert making.report("a\0b").endswith("no such file") or "cannot be read" in making.report("a\0b")


def test_not_utf_8(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_bytes(b"infra_name: \xe9\n")
    assert making.report(path) == f"{path}: not UTF-8 text (byte 13)"


def test_a_mapping_has_no_places() -> None:
    data = {"infra_name": "shop", "nodes": ({"name": "a", "type": "dbb"}, {"name": "A b", "type": "db"}), "x": 1}
    assert making.report(data).splitlines() == [
        "nodes[0].type: there is no definition of node type 'dbb' (did you mean 'db'?)",
        "nodes[1].name: 'A b' is not a host name: it contains ' '; a name consists of letters, digits and - "
        "(for example 'A-b')",
        "x: unknown key 'x' (possible: infra_name, nodes, user_id, dependencies, variables)",
    ]


def test_any_mapping_and_shared_nodes() -> None:
    a, b = {"name": "a", "type": "db"}, {"name": "b", "type": "db"}
    data = types.MappingProxyType({"infra_name": "shop", "nodes": [a, b], "dependencies": [(b, a)]})
    assert making.described(data).topological_order == (("a",), ("b",))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "the number nan cannot be stored as JSON"),
        (float("-inf"), "the number -inf cannot be stored as JSON"),
        (2**64, "the number 18446744073709551616 cannot be stored as JSON"),
        (b"x", "a Python bytes cannot be stored as JSON"),
        ({1}, "a Python set cannot be stored as JSON"),
        ("\ud800", "the text holds a character that cannot be stored (NUL, or half of one)"),
    ],
)
def test_values_that_json_lacks(value: Any, said: str) -> None:
    data = {"infra_name": "shop", "nodes": [], "variables": {"v": [value]}}
    assert making.report(data) == f"variables.v[0]: {said}"


def test_data_that_contains_itself() -> None:
    ring: list[Any] = []
    ring.append(ring)
    data = {"infra_name": "shop", "nodes": [], "variables": {"ring": ring}}
    assert making.report(data) == "variables.ring[0]: contains itself"


def test_the_callers_data_stays_as_it_is() -> None:
    data: dict[str, Any] = {"infra_name": "shop", "nodes": [{"name": "a", "type": "db", "variables": {"x": {}}}]}
    data["variables"] = {"x": {"y": 1}}
    before = json.dumps(data)
    made = making.described(data)
    made.nodes[0].variables["x"]["z"] = 2
    assert json.dumps(data) == before


def test_problems_are_values() -> None:
    with pytest.raises(errors.SchemaError) as caught:
        making.compiled("infra_name: shop\nnodes: 3\n")
    assert caught.value.problems == (
        errors.Problem(message="must be a list, it is a number", path="nodes", line=2, column=8),
    )


def test_without_any_definition() -> None:
    with pytest.raises(errors.SchemaError, match="no node definitions are imported yet"):
        compiler.compile_description(TEXT, infra_id="i", definitions={})
