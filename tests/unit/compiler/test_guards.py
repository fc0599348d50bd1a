"""Guards that no ordinary description meets: small graphs one and all, odd keys, an installation without libyaml."""

from __future__ import annotations

import itertools
import pathlib
import subprocess
import sys
from typing import Any

import pydantic
import pytest

from occo_celery import errors
from occo_celery.compiler import builder, definitions, graph, places, source
from occo_celery.compiler import compile as compiler
from tests.unit.compiler import making

PAIRS = [pair for pair in itertools.product("abcd", repeat=2) if pair[0] != pair[1]]


def test_every_graph_of_four_nodes() -> None:
    """Cycles are real, share no node, and without their nodes no cycle is left."""
    for chosen in itertools.product((False, True), repeat=len(PAIRS)):
        edges = list(itertools.compress(PAIRS, chosen))
        rings = graph.cycles("abcd", edges)
        for ring in rings:
            assert set(zip(ring, [*ring[1:], ring[0]], strict=True)) <= set(edges)
            assert ring[0] == min(ring)
        inside = [name for ring in rings for name in ring]
        assert len(inside) == len(set(inside))
        left = [name for name in "abcd" if name not in inside]
        kept = [edge for edge in edges if not set(inside) & set(edge)]
        assert sum(len(level) for level in graph.levels(left, kept)) == len(left), (edges, rings)


def test_a_long_cycle_is_not_spelt_out() -> None:
    nodes = [{"name": f"n{number}", "type": "db"} for number in range(100)]
    pairs = [[f"n{number}", f"n{(number + 1) % 100}"] for number in range(100)]
    said = making.report({"infra_name": "shop", "nodes": nodes, "dependencies": pairs})
    assert said.startswith("dependencies[0]: nodes depend on each other in a cycle: n0 -> n1 -> n2 -> ")
    assert said.endswith(" -> n19 -> (80 more) -> n0")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("a\0b", "variables['a\\x00b']: the key holds a character that cannot be stored"),
        ("\udc00", "variables['\\udc00']: the key holds a character that cannot be stored"),
        ("k" * (builder.MAX_SCALAR + 1), "the key is too long"),
    ],
)
def test_keys_of_data(key: str, said: str) -> None:
    data: dict[str, Any] = {"infra_name": "shop", "nodes": [], "variables": {key: 1}}
    assert making.report(data).endswith(said)


def test_a_long_key_of_a_text() -> None:
    text = f"infra_name: shop\nnodes: []\nvariables:\n  ? {'k' * (builder.MAX_SCALAR + 1)}\n  : 1\n"
    assert making.report(text) == "4:5: variables: a text of 65,537 characters, at most 65,536 are read"


def test_a_byte_order_mark_hides_no_directive() -> None:
    assert source.read_text("\ufeff{a: 1}").root == {"a": 1}
    assert "YAML directive" in making.report("\ufeff%TAG ! tag:x\n---\na: 1\n")


def test_text_from_a_network_names_no_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("infra_name: shop\nnodes: []\n")
    with pytest.raises(errors.SchemaError, match="must be a mapping, it is a string"):
        compiler.compile_description(str(path), infra_id="i", definitions={}, files=False)


def test_without_libyaml() -> None:
    """In a process of its own, because what is imported stays imported."""
    program = (
        "import sys; sys.modules['yaml._yaml'] = None\n"
        "from occo_celery import errors; from occo_celery.compiler import source\n"
        "try: source.read_text('a: 1')\n"
        "except errors.ConfigurationError as problem: print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "PyYAML is installed without libyaml" in done.stdout, done.stderr


def test_hints_end_before_they_cost_too_much() -> None:
    report = places.Report()
    options = [f"option-{number}" for number in range(1_000)]
    found = [report.nearest("optoin-7", options) for _ in range(places.COMPARISONS // len(options) + 1)]
    assert found[0] == found[-2] == "option-7"
    assert found[-1] is None


def test_a_long_line_is_no_path() -> None:
    assert making.report("x" * 5_000).startswith("1:1: ")


# --- sections of node definitions ---------------------------------------------------------------------------------


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: str
    password: str = pydantic.Field("", json_schema_extra={"sensitive": True})


def _broken(kind: str, name: str | None, section: Any) -> list[tuple[str, str]]:
    """Checks templates as a plugin that counts on a section being as its schema says."""
    raise TypeError("not as I thought")


def _definitions(folder: pathlib.Path, check_templates: Any, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    with pytest.raises(errors.SchemaError) as caught:
        definitions.load_definitions(
            folder / "main.yaml", schema_for=lambda kind, name: _Section, check_templates=check_templates
        )
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_an_imported_value_that_is_wrong_is_told_in_its_file(tmp_path: pathlib.Path) -> None:
    main = "'node_def:web':\n  - resource: !yaml_import {url: file://other.yaml}\n"
    said = _definitions(tmp_path, lambda *_: [], main=main, other="# comment\n- type: cloud\n")
    assert len(said) == 1
    assert said[0].startswith("other.yaml:2:1: node_def:web[0].resource: must be a mapping, it is a list")


def test_a_secret_of_a_wrong_kind_is_told_once(tmp_path: pathlib.Path) -> None:
    said = _definitions(tmp_path, lambda *_: [], main="'node_def:web': [{resource: {type: cloud, password: 3}}]")
    assert len(said) == 1
    assert "a secret must be a string, it is a number" in said[0]


def test_templates_of_a_wrong_section_may_be_beyond_their_plugin(tmp_path: pathlib.Path) -> None:
    said = _definitions(tmp_path, _broken, main="'node_def:web': [{resource: {type: cloud, x: 3}}]")
    assert len(said) == 1
    assert "unknown key 'x'" in said[0]
    with pytest.raises(TypeError, match="not as I thought"):  # of a right section it is the plugin's fault
        _definitions(tmp_path, _broken, main="'node_def:web': [{resource: {type: cloud}}]")
