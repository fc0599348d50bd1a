"""JSON Schemas of what users write, for editors that complete and check it, made from the models that check it here.

Called by `occo schema`. A schema looks at one place at a time: it lets pass what only the compiler can know (names
that must exist, cycles, templates that do not parse), but refuses nothing that the compiler takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydantic

from occo_celery import errors
from occo_celery.compiler import definitions, schema, sections, shapes

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_TEMPLATE: Schema = {
    "description": "A template: its value is known when an instance is made.",
    "type": "string",
    "pattern": r"\{\{|\{%",
}
_SECRET: Schema = {
    "description": "A secret: its name is kept, its value is fetched when it is used.",
    "type": "object",
    "properties": {"secret": {"type": "string", "minLength": 1}},
    "required": ["secret"],
    "additionalProperties": False,
}
_IMPORT: Schema = {
    "description": "!yaml_import or !text_import: the content of another file.",
    "type": "object",
    "properties": {"url": {"type": "string", "pattern": "^file://"}},
    "required": ["url"],
    "additionalProperties": False,
}
_WRITTEN_OUT: Schema = {
    "description": "A secret that is written out: it is stored encrypted. Better name one: {secret: NAME}.",
    "type": "string",
    "not": _TEMPLATE,
    "deprecated": True,
}
_FETCHED: Schema = {"type": "string", "pattern": r"^\s*\{\{-?\s*secret\(.*\)\s*-?\}\}\s*$"}


def description() -> Schema:
    """The schema of an infrastructure description."""
    models = (schema.Infrastructure, schema.Node, schema.Dependency)
    shapes = {model.__name__: _of_model(model) for model in models}
    known = {name: one for shape in shapes.values() for name, one in shape.pop("$defs", {}).items()}
    # The models check these one by one, and the short forms are written out before.
    top = shapes.pop("Infrastructure")
    top["properties"]["nodes"]["items"] = _ref("Node")
    pair = shapes["Dependency"]["properties"]["connection"]
    nothing = [{"type": "null"}, {"type": "object", "maxProperties": 0}]
    top["properties"]["dependencies"] = {
        "anyOf": [{"type": "array", "items": {"anyOf": [pair, _ref("Dependency")]}}, *nothing]
    }
    mapping = {"anyOf": [known["AttributeMapping"]["properties"]["attributes"], _ref("AttributeMapping")]}
    shapes["Dependency"]["properties"]["mappings"] = {
        "anyOf": [{"type": "array", "items": mapping}, {"type": "null"}]
    }
    return {"$schema": DIALECT, **top, "title": "Infrastructure description", "$defs": {**known, **shapes}}


def node_definitions(
    schema_for: sections.SchemaFor, names: Callable[[str], Sequence[str]]
) -> tuple[Schema, list[str]]:
    """The schema of a file of node definitions, and the plugins that cannot be loaded, with the reason: of a section
    with one of these only the type is checked.

    names: of all plugins for a kind of section.
    """
    known: dict[str, Schema] = {"template": _TEMPLATE, "secret": _SECRET, "import": _IMPORT}
    missing: list[str] = []
    implementation: dict[str, Schema] = {}
    for kind in definitions.SECTIONS:
        types = [None] if kind == sections.UNTYPED else list(names(kind))
        branches = {}
        for name in types:
            key = kind if name is None else f"{kind}.{name}"
            try:
                known.update(_section(key, schema_for(kind, name)))
            except errors.PluginError as problem:
                missing.append(str(problem))
                known[key] = {"type": "object"}
            branches[name] = _ref(key)
        one = _ref(kind) if kind == sections.UNTYPED else _chosen(branches)
        absent = [] if kind == "resource" else [{"type": "null"}]
        implementation[kind] = {"anyOf": [one, _ref("import"), *absent]}
    implementation["create_timeout"] = {
        "description": "Seconds; pending for longer makes an instance failed.",
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
    }
    known["implementation"] = {
        "type": "object",
        "properties": implementation,
        "required": ["resource"],
        "additionalProperties": False,
    }
    items = {"anyOf": [_ref("implementation"), _ref("import")]}
    implementations = {"anyOf": [{"type": "array", "minItems": 1, "items": items}, _ref("import")]}
    return {
        "$schema": DIALECT,
        "title": "Node definitions",
        "type": "object",
        "minProperties": 1,
        "patternProperties": {f"^{definitions.PREFIX}.": implementations},
        "additionalProperties": False,
        "$defs": known,
    }, missing


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _of_model(model: type[pydantic.BaseModel], prefix: str = "") -> Schema:
    return model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")


def _section(key: str, model: type[pydantic.BaseModel]) -> dict[str, Schema]:
    """The schema of a section under its key, and those that it refers to under keys of their own."""
    made = _of_model(model, f"{key}.")
    below = {f"{key}.{name}": one for name, one in made.pop("$defs", {}).items()}
    return {name: _open(one) for name, one in {key: made, **below}.items()}


def _chosen(branches: Mapping[str | None, Schema]) -> Schema:
    """``type`` chooses; said so that an editor complains of what is wrong in that one section, not of all others."""
    return {
        "type": "object",
        "properties": {"type": {"enum": list(branches)}},
        "required": ["type"],
        "allOf": [
            {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": branch}
            for name, branch in branches.items()
        ],
    }


def _open(one: Schema) -> Schema:
    """The same, where a template, a secret or an import may stand for each value but the type of a section."""
    opened = dict(one)
    if "properties" in one:
        opened["properties"] = {
            name: each if name == "type" and "const" in each else _value(each)
            for name, each in one["properties"].items()
        }
    for word in ("items", "additionalProperties"):
        if isinstance(one.get(word), dict):
            opened[word] = _value(one[word])
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if word in one:
            opened[word] = [_open(each) for each in one[word]]
    return opened


def _value(one: Schema) -> Schema:
    if _has(one, shapes.SENSITIVE):
        absent = [each for each in one.get("anyOf", ()) if each.get("type") == "null"]
        return {"anyOf": [_ref("secret"), _FETCHED, _WRITTEN_OUT, _ref("import"), *absent], **_kept(one)}
    if _has(one, shapes.FIXED):
        return {"anyOf": [{**_open(one), "not": _ref("template")}, _ref("import")], **_kept(one)}
    return {"anyOf": [_open(one), _ref("template"), _ref("secret"), _ref("import")], **_kept(one)}


def _has(one: Schema, mark: str) -> bool:
    return bool(one.get(mark)) or any(each.get(mark) for each in one.get("anyOf", ()))


def _kept(one: Schema) -> Schema:
    """What editors show of a value, where they look for it."""
    return {word: one[word] for word in ("title", "description", "default") if word in one}
