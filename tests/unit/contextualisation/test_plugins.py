"""The contextualisations basic and cloudinit."""

from __future__ import annotations

import time
from typing import Any

import pydantic
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.plugins.contextualisation import base, basic, cloudinit

SECRET = "hunter2: ["
NAMES = {"type": "web", "name": "web-1", "secret": lambda name: SECRET}
BASIC = basic.BasicContextualisation()
CLOUDINIT = cloudinit.CloudinitContextualisation(schemas=())  # whatever this host has: test_cloud_schema.py
PLUGINS: list[base.Contextualisation] = [BASIC, CLOUDINIT]


def told(template: Any) -> str:
    text = CLOUDINIT.render({"type": "cloudinit", "context_template": template}, NAMES).user_data
    assert text is not None
    return text


def refused(template: Any) -> str:
    with pytest.raises(errors.TemplateError) as caught:
        told(template)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("plugin", "section"),
    [
        (BASIC, {"type": "basic"}),
        (BASIC, {"type": "basic", "attributes": {"a": {"b": ["{{ name }}"]}}}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": "#cloud-config"}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": {"runcmd": []}, "attributes": {}}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": [{"runcmd": []}, "#!/bin/sh"]}),
    ],
)
def test_sections_that_are_right(plugin: base.Contextualisation, section: dict[str, Any]) -> None:
    plugin.schema.model_validate(section)


@pytest.mark.parametrize(
    ("plugin", "section"),
    [
        (BASIC, {"type": "cloudinit"}),
        (BASIC, {}),
        (BASIC, {"type": "basic", "attributes": []}),
        (BASIC, {"type": "basic", "context_template": "x"}),
        (CLOUDINIT, {"type": "cloudinit"}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": 3}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": []}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": [["#!/bin/sh"]]}),
        (CLOUDINIT, {"type": "cloudinit", "context_template": "x", "atributes": {}}),
    ],
)
def test_sections_that_are_wrong(plugin: base.Contextualisation, section: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        plugin.schema.model_validate(section)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_attributes_are_rendered(plugin: base.Contextualisation) -> None:
    section = {"context_template": "x", "attributes": {"{{ k }}": ["{{ name }}", {"secret": "db"}, 3]}}
    assert plugin.render(section, NAMES).attributes == {"{{ k }}": ["web-1", SECRET, 3]}
    section["attributes"] = {"a": "{{ no }}"}
    with pytest.raises(errors.TemplateError, match=r"^node_def:web contextualisation\.attributes\.a, line 1: 'no'"):
        plugin.render(section, NAMES)


def test_templates_are_all_texts_by_their_paths() -> None:
    section = {"type": "cloudinit", "context_template": {"runcmd": ["{{ a }}"]}, "attributes": {"b": "{{ c }}"}}
    expected = {"type": "cloudinit", "context_template.runcmd[0]": "{{ a }}", "attributes.b": "{{ c }}"}
    assert CLOUDINIT.templates(section) == expected
    parts = {"context_template": ["#!{{ a }}", {"b": "{{ c }}"}]}
    assert CLOUDINIT.templates(parts) == {"context_template[0]": "#!{{ a }}", "context_template[1].b": "{{ c }}"}
    assert BASIC.templates({"type": "basic", "attributes": {"b": "{{ c }}"}}) == {
        "type": "basic",
        "attributes.b": "{{ c }}",
    }


def test_text_is_rendered_as_it_is() -> None:
    assert told("#!/bin/sh\necho {{ name }}: [\n") == "#!/bin/sh\necho web-1: [\n"
    assert told("#cloud-config\nhostname: {{ name }}\n") == "#cloud-config\nhostname: web-1\n"
    assert told("#cloud-config-archive\n- {{ name }}\n") == "#cloud-config-archive\n- web-1\n"
    assert told("{{ '#cloud-config' }}\nhostname: x\n") == "#cloud-config\nhostname: x\n"


def test_a_mapping_becomes_cloud_config_and_no_value_can_break_it() -> None:
    shared = ["{{ name }}", {"secret": "db"}]
    text = told({"runcmd": shared, "bootcmd": shared, "packages": ["é", "yes", 0o7]})
    assert text.startswith("#cloud-config\n")
    assert "&" not in text
    assert yaml.safe_load(text) == {
        "runcmd": ["web-1", SECRET],
        "bootcmd": ["web-1", SECRET],
        "packages": ["é", "yes", 7],
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="{", codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=3))
def test_any_mapping_comes_back_from_its_cloud_config(mapping: dict[str, Any]) -> None:
    if set(mapping) != {"secret"}:
        assert yaml.safe_load(told(mapping)) == mapping


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#cloud-config\nruncmd:\n  - a\n bad: [\n", "line 4, column 2 of it cannot be parsed"),
        ("#cloud-config\npassword: {{ secret('db') }}\n", "line 2, column 18 of it cannot be parsed"),
        ("#cloud-config\na: &x [1]\nb: *x\n", "line 3, column 4 of it an alias (*name) is not allowed"),
        ("#cloud-config\na: !!python/object/apply:os.system [id]\n", "line 2, column 4 of it cannot be parsed"),
        ("#cloud-config\n- a\n", "it is not a mapping"),
        ("#cloud-config\n", "it is not a mapping"),
        ("#cloud-config\na: 2001-99-99\n", "an impossible date"),
        ("#cloud-config\na: " + "[" * 200_000, "nested too deeply"),
        ({"a": "{{ 'x' * 600000 }}", "b": "{{ 'x' * 600000 }}"}, "at most 1048576 characters"),
    ],
    ids=range(9),
)
def test_a_cloud_config_that_does_not_parse_is_refused(text: Any, expected: str) -> None:
    message = refused(text)
    assert expected in message
    assert message.startswith("node_def:web contextualisation.context_template")


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["#cloud-config", "a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    began = time.process_time()
    refused("\n".join(lines))
    assert time.process_time() - began < 1.0
