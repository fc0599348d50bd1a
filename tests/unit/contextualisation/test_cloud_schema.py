"""What is said of a cloud-config that cloud-init's schema does not fit, and what is refused."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.plugins.contextualisation import cloud_schema, cloudinit

SECRET = "hunter2"
NAMES = {"type": "web", "secret": lambda name: SECRET, "variables": {"list": SECRET, "key": "packages"}}

#: Put together as cloud-init's is.
SCHEMA = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "$defs": {
        "cc_runcmd": {
            "type": "object",
            "properties": {
                "runcmd": {
                    "type": "array",
                    "items": {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
                    "minItems": 1,
                }
            },
        },
        "cc_packages": {
            "type": "object",
            "properties": {
                "packages": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "package_update": {"type": "boolean"},
                "apt": {"type": "object", "patternProperties": {"^s": {}}, "additionalProperties": False},
            },
        },
        "cc_files": {
            "properties": {
                "write_files": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "path": {"type": "string", "pattern": "^/"},
                            "mode": {"enum": ["a", "b"]},
                            "content": {"type": "string"},
                        },
                        "required": ["path"],
                        "additionalProperties": False,
                    },
                }
            }
        },
        "cc_users": {
            "type": "object",
            "properties": {
                "users": {"type": ["string", "array", "object"]},
                "swap": {
                    "oneOf": [{"type": "object", "properties": {"size": {"type": "integer"}}}, {"type": "boolean"}]
                },
            },
        },
    },
    "allOf": [{"$ref": f"#/$defs/{name}"} for name in ("cc_runcmd", "cc_packages", "cc_files", "cc_users")],
}

#: As newer ones are: they refuse keys that they do not have.
CLOSED = {**SCHEMA, "properties": {"runcmd": {}, "packages": {}}, "additionalProperties": False}


@pytest.fixture(params=[SCHEMA, CLOSED], ids=["open", "closed"])
def plugin(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> cloudinit.CloudinitContextualisation:
    (tmp_path / "schema.json").write_text(json.dumps(request.param))
    return cloudinit.CloudinitContextualisation(schemas=(str(tmp_path / "no*.json"), str(tmp_path / "sch*.json")))


def render(plugin: cloudinit.CloudinitContextualisation, template: Any) -> str:
    cloudinit._warn.cache_clear()
    told = plugin.render({"type": "cloudinit", "context_template": template}, NAMES).user_data
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"packages": 5}, "packages must be a list, it is a whole number"),
        ({"packages": "{{ variables.list }}"}, "packages must be a list, it is a text"),
        ({"packages": {"secret": "db"}}, "packages must be a list, it is a text"),
        ({"packages": {"nginx": None}}, "packages must be a list, it is a mapping"),
        ("#cloud-config\npackages: {{ secret('db') }}\n", "packages must be a list, it is a text"),
        ("#cloud-config\n{{ variables.key }}: 5\n", "packages must be a list, it is a whole number"),
        ({"package_update": [True]}, "package_update must be true or false, it is a list"),
        ({"users": 5, "swap": [1]}, "swap must be a mapping or true or false, it is a list"),
        ({"packages": 5, "apt": []}, "packages must be a list, it is a whole number; apt must be a mapping"),
        ([{"runcmd": ["a"]}, {"packages": 5}], "context_template[1]: cloud-init cannot use"),
    ],
)
def test_what_no_version_can_take_is_refused(
    plugin: cloudinit.CloudinitContextualisation, template: Any, expected: str
) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        render(plugin, template)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("node_def:web contextualisation.context_template")
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"runcmdd": ["a"]}, ["the key runcmdd is not known; did you mean runcmd?"]),
        ("#cloud-config\n{{ secret('db') }}: 5\n", ["the key * is not known"]),
        ({"runcmd": []}, ["runcmd must not be empty"]),
        ({"runcmd": None}, ["runcmd must be a list, it is nothing"]),
        ({"runcmd": [{"echo a": SECRET}]}, ["runcmd[0] must be a list or a text, it is a mapping"]),
        ({"runcmd": [["a", 5]]}, ["runcmd[0][1] must be a text, it is a whole number"]),
        ({"package_update": "{{ variables.list }}"}, ["package_update must be true or false, it is a text"]),
        ({"users": 5}, ["users must be a text or a list or a mapping, it is a whole number"]),
        ({"packages": [{"apt": ["nginx"]}]}, ["packages[0] must be a text, it is a mapping"]),
        ({"write_files": [{"content": SECRET}]}, ["write_files[0] lacks the key path"]),
        ({"write_files": [{"path": SECRET}]}, ["write_files[0].path must fit the pattern ^/"]),
        ({"write_files": [{"path": "/a", "mode": SECRET}]}, ['write_files[0].mode must be one of: "a", "b"']),
        (
            {"write_files": [{"path": "/a", "contents": SECRET}]},
            ["write_files[0] has a key that is not known: contents; did you mean content?"],
        ),
        (
            "#cloud-config\nwrite_files:\n- path: /a\n  {{ secret('db') }}: 1\n",
            ["write_files[0] has a key that is not known: *; there are: path, mode, content"],
        ),
        ({"swap": {"size": SECRET}}, ["swap.size must be a whole number, it is a text"]),
        ({"apt": {"x": 1}}, ["apt has a key that is not known: x"]),
        ({"packages": [1] * 30}, [f"packages[{n}] must be a text, it is a whole number" for n in range(10)]),
    ],
)
def test_what_another_version_may_take_is_used_and_logged(
    plugin: cloudinit.CloudinitContextualisation,
    caplog: pytest.LogCaptureFixture,
    template: Any,
    expected: list[str],
) -> None:
    with caplog.at_level(logging.WARNING):
        text = render(plugin, template)
    assert text.startswith("#cloud-config\n")
    said = [record.getMessage() for record in caplog.records if record.name == cloudinit.log.name]
    assert [one.partition(" says: ")[2].partition("; it is used as it is")[0] for one in said] == expected
    assert SECRET not in caplog.text


def test_what_fits_says_nothing(
    plugin: cloudinit.CloudinitContextualisation, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        render(plugin, {"runcmd": ["a", ["b"]], "packages": ["x", "x"], "merge_how": "dict()"})
        render(plugin, "#cloud-config\npackages: [!!binary aGVsbG8=]\n")
        render(plugin, "#!/bin/sh\npackages: 5\n")
        render(plugin, "#cloud-config-archive\n- {packages: 5}\n")
    assert caplog.text == ""


def test_it_is_said_once_not_once_an_instance(
    plugin: cloudinit.CloudinitContextualisation, caplog: pytest.LogCaptureFixture
) -> None:
    cloudinit._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            plugin.render({"type": "cloudinit", "context_template": {"runcmd": []}}, NAMES)
    assert len(caplog.records) == 1


def test_keys_that_json_has_not_break_nothing(plugin: cloudinit.CloudinitContextualisation) -> None:
    render(plugin, "#cloud-config\n1: {2: 3}\napt: {4: 5}\nnull: x\ntrue: y\n")


def test_without_cloud_init_nothing_is_checked(tmp_path: pathlib.Path) -> None:
    assert cloud_schema.installed((str(tmp_path / "*.json"),)) is None
    plugin = cloudinit.CloudinitContextualisation(schemas=(str(tmp_path / "*.json"),))
    assert render(plugin, {"packages": 5}) == "#cloud-config\npackages: 5\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "broken.json cannot be read"),
        ("[]", "broken.json is not as expected"),
        ('{"allOf": [5]}', "broken.json is not as expected"),
        ('{"allOf": [{"$ref": "elsewhere.json#/one"}]}', "broken.json is not as expected: KeyError('$defs')"),
    ],
)
def test_a_schema_that_cannot_be_read_checks_nothing(
    content: str, said: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert cloud_schema.installed((str(tmp_path / "broken*.json"),)) is None
    assert said in caplog.text


def test_doubled_items_are_not_looked_for() -> None:
    """With items of several kinds that would take the square of their number: hours."""
    schema = cloud_schema.Schema(SCHEMA)
    (found,) = schema.check({"packages": [{}] + ["x"] * 100_000}, "packages")
    assert found.text == "packages[0] must be a text, it is a mapping"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"required": ["hostname"], "properties": {"hostname": {}}}, "it lacks the key hostname"),
        ({"type": "array", "properties": {"hostname": {}}}, "it must be a list, it is a mapping"),
        ({"properties": {"hostname": {}}, "minProperties": 2}, "it must have at least 2 entries"),
    ],
)
def test_parts_that_speak_of_every_config_are_always_asked(part: dict[str, Any], expected: str) -> None:
    schema = cloud_schema.Schema({**SCHEMA, "allOf": [*SCHEMA["allOf"], part]})
    assert [one.text for one in schema.check({"runcmd": ["a"]}, "")] == [expected]
