"""The schemas for editors: they refuse nothing that the compiler takes, and see what one place can show."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.cli import main as command_line
from occo_celery.compiler import json_schema, plain, source
from occo_celery.plugins import registry
from tests.unit.compiler import making, test_definitions

HERE = pathlib.Path(__file__).parent
EXAMPLES = sorted(pathlib.Path(__file__).parents[3].glob("examples/**/*.yaml"))
RIGHT = sorted(HERE.glob("right/*.yaml"))
#: Wrong descriptions in which each wrong place can be seen by itself.
SEEN = ("01-unknown-keys", "02-wrong-types", "03-bad-names", "12-dependency-shapes", "13-mappings", "15-missing-keys")

DESCRIPTION = jsonschema.Draft202012Validator(json_schema.description())
PLUGINS = jsonschema.Draft202012Validator(json_schema.node_definitions(registry.schema_for, registry.names)[0])
TYPES = {"resource": ("cloud",), "contextualisation": ("init",), "config_management": ("absent",)}
OURS = jsonschema.Draft202012Validator(
    json_schema.node_definitions(test_definitions.schema_for, lambda kind: TYPES[kind])[0]
)


def read(text: str) -> Any:
    """The text as the compiler reads it."""
    return plain.Copier(source.read_text(text)).root()


@pytest.mark.parametrize("validator", [DESCRIPTION, PLUGINS, OURS], ids=["description", "plugins", "ours"])
def test_it_is_a_schema(validator: Any) -> None:
    validator.check_schema(validator.schema)


# --- descriptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_right_descriptions_are_taken(path: pathlib.Path) -> None:
    DESCRIPTION.validate(read(path.read_text()))


@pytest.mark.parametrize("name", SEEN)
def test_what_one_place_shows_is_refused(name: str) -> None:
    assert not DESCRIPTION.is_valid(read((HERE / "wrong" / f"{name}.yaml").read_text()))


_SCALARS = st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "db", "b-", "a b", "x" * 64])
_PAIRS = st.lists(_SCALARS, max_size=3)
_MAPPINGS = st.fixed_dictionaries({}, optional={"attributes": _PAIRS, "synch": _SCALARS, "more": _SCALARS})
_NODES = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c"]), "type": st.just("db")},
    optional={
        "scaling": _SCALARS | st.fixed_dictionaries({}, optional={"min": _SCALARS, "max": _SCALARS}),
        "filter": st.none() | st.dictionaries(st.sampled_from(["a", "b"]), _SCALARS, max_size=1),
        "variables": _SCALARS | st.dictionaries(st.sampled_from(["a", "b"]), _SCALARS, max_size=2),
    },
)
_DEPENDENCIES = _PAIRS | st.fixed_dictionaries(
    {"connection": st.sampled_from([["a", "b"], ["b", "c"], ["a"]])},
    optional={"mappings": _SCALARS | st.lists(_PAIRS | _MAPPINGS, max_size=2), "more": _SCALARS},
)
_DESCRIPTIONS = st.fixed_dictionaries(
    {"infra_name": st.sampled_from(["shop", "shop", "-"]), "nodes": st.lists(_NODES, max_size=3)},
    optional={
        "user_id": _SCALARS,
        "dependencies": st.sampled_from([None, {}, [["a", "b"]]]) | st.lists(_DEPENDENCIES, max_size=2),
        "variables": st.none() | st.dictionaries(st.sampled_from(["a", "b"]), _SCALARS, max_size=2),
    },
)


@settings(deadline=None, max_examples=300)
@given(_DESCRIPTIONS)
def test_what_the_compiler_takes_the_schema_takes(data: dict[str, Any]) -> None:
    try:
        making.compiled(data)
    except errors.SchemaError:
        return
    DESCRIPTION.validate(data)


# --- definitions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_examples_are_taken(path: pathlib.Path) -> None:
    data = read(path.read_text())
    described = "infra_name" in data
    (DESCRIPTION if described else PLUGINS).validate(data)


def test_templates_and_secrets_may_stand_for_values() -> None:
    OURS.validate(read(test_definitions.GOOD))


@pytest.mark.parametrize("password", ["written here", None, {"url": "file://password.txt"}])
def test_a_secret_that_is_written_out_is_taken(password: Any) -> None:
    OURS.validate({"node_def:web": [{"resource": {"type": "cloud", "endpoint": "x", "password": password}}]})


GOOD: dict[str, Any] = {"resource": {"type": "cloud", "endpoint": "x"}}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"resource": None},
        {"resource": {"type": "cloudd", "endpoint": "x"}},
        {"resource": {"endpoint": "x"}},
        {"resource": {"type": "cloud"}},
        {"resource": {"type": "cloud", "endpoint": 1}},
        {"resource": {"type": "cloud", "endpoint": "x", "sizee": "small"}},
        {"resource": {"type": "cloud", "endpoint": "x", "size": "medium"}},
        {"resource": {"type": "cloud", "endpoint": "x", "password": "{{ variables.x }}"}},
        {"resource": {"type": "cloud", "endpoint": "x", "login": {"user": "u", "token": 3}}},
        {"resource": {"type": "cloud", "endpoint": "x", "ports": ["80"]}},
        {"resource": {"type": "cloud", "endpoint": "x", "region": {"secret": "x"}}},
        {"resource": {"type": "cloud", "endpoint": "x", "region": "{{ variables.x }}"}},
        {**GOOD, "health_check": {"port": [80]}},
        {**GOOD, "create_timeout": 0},
        {**GOOD, "create_timeout": "60"},
        {**GOOD, "contextualization": None},
    ],
    ids=str,
)
def test_what_is_wrong_in_one_place_is_refused(wrong: dict[str, Any]) -> None:
    assert OURS.is_valid({"node_def:web": [GOOD]})
    assert not OURS.is_valid({"node_def:web": [wrong]})


@pytest.mark.parametrize("wrong", [{}, {"web": [GOOD]}, {"node_def:": [GOOD]}, {"node_def:web": []}], ids=str)
def test_what_is_no_definition_is_refused(wrong: dict[str, Any]) -> None:
    assert not OURS.is_valid(wrong)


def test_a_plugin_that_is_not_installed_is_named_and_its_sections_are_not_checked() -> None:
    _, missing = json_schema.node_definitions(test_definitions.schema_for, lambda kind: TYPES[kind])
    assert missing == ["no config_management plugin is called 'absent'"]
    assert OURS.is_valid({"node_def:web": [{**GOOD, "config_management": {"type": "absent", "any": "thing"}}]})
    assert not OURS.is_valid({"node_def:web": [{**GOOD, "config_management": {"type": "other"}}]})


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "validator"), [("description", DESCRIPTION), ("definitions", PLUGINS)])
def test_occo_schema_prints_it(what: str, validator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["schema", what]) == 0
    assert json.loads(capsys.readouterr().out) == validator.schema
