"""Reads node definitions: the implementations of node types, each section checked with the schema of its plugin.

Called by api/manager.py. All or nothing: either every definition of a file is right, or SchemaError tells of every
problem. What is stored is what was written, references to secrets included; defaults are left to the plugins. Only
secrets that are written out in a file are stored encrypted.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from occo_celery.compiler import places, plain, sections, source
from occo_celery.model import reference

PREFIX = "node_def:"
SECTIONS = ("resource", "contextualisation", "config_management", "health_check")
KEYS = (*SECTIONS, "create_timeout")

#: What is said of a secret in a file, where there is no key to encrypt it with.
_NO_KEY = (
    f"{sections.BY_NAME}; or let it be stored encrypted: set {reference.KEY_VARIABLE}, or encryption.key in the "
    f"configuration, here and for the workers, to what `{reference.MAKE_KEY}` gives"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """definitions: node type -> its implementations in order. warnings: one line each."""

    definitions: Mapping[str, tuple[Mapping[str, Any], ...]]
    warnings: tuple[str, ...]


def load_definitions(
    path: pathlib.Path,
    *,
    schema_for: sections.SchemaFor,
    check_templates: sections.CheckTemplates,
    encrypt: sections.Encrypt | None = None,
) -> Loaded:
    """The node definitions of a file, which may import others with `!yaml_import` and `!text_import`.

    encrypt: for secrets that are written out; without it they are refused. Raises SchemaError with every problem, in
    the order of the document.
    """
    report = source.read_file(path, imports=True)
    return _check(sections.Checker(report, schema_for, check_templates, encrypt, _NO_KEY))


def parse_definitions(
    text: str, *, schema_for: sections.SchemaFor, check_templates: sections.CheckTemplates
) -> Loaded:
    """The node definitions of a text that somebody sent: as load_definitions, but imports are refused, and secrets
    that are written out."""
    return _check(sections.Checker(source.read_text(text), schema_for, check_templates))


def _check(checker: sections.Checker) -> Loaded:
    report = checker.report
    data = plain.Copier(report).root()
    found: dict[str, tuple[Mapping[str, Any], ...]] = {}
    if not isinstance(data, dict) or not data:
        what = "empty" if not data else places.kind(data)
        example = f"for example '{PREFIX}web': [{{resource: {{type: ...}}}}]"
        report.add((), f"node definitions must be a mapping, it is {what}", hint=example)
        data = {}
    hint: str | None
    for key, implementations in data.items():
        name = key.removeprefix(PREFIX)
        if name == key or not name:
            hint = f"did you mean {PREFIX + name.split(':')[-1]!r}?" if name else None
            report.add((key,), f"a node definition is called '{PREFIX}<type>'", hint=hint, key=True)
        elif not isinstance(implementations, list):
            hint = "put '- ' before its first key" if isinstance(implementations, dict) else None
            what = places.kind(implementations)
            report.add((key,), f"must be a list of implementations, it is {what}", hint=hint)
        elif not implementations:
            report.add((key,), "must have at least one implementation")
        else:
            found[name] = tuple(
                _implementation(checker, (key, index), one) for index, one in enumerate(implementations)
            )
    report.check()
    return Loaded(definitions=found, warnings=report.warning_texts())


def _implementation(checker: sections.Checker, path: places.Path, value: Any) -> Mapping[str, Any]:
    report = checker.report
    if not isinstance(value, dict):
        hint = "its sections are " + ", ".join(SECTIONS)
        report.add(path, f"an implementation must be a mapping, it is {places.kind(value)}", hint=hint)
        return {}
    unknown = {key: report.nearest(key, KEYS) for key in value if key not in KEYS}
    for key, near in unknown.items():
        hint = f"did you mean {near!r}?" if near else f"possible: {', '.join(KEYS)}"
        report.add((*path, key), f"unknown key {places.quote(key)}", hint=hint, key=True)
    if "resource" not in value and "resource" not in unknown.values():
        report.add(path, "the key 'resource' is missing")
    stored = dict(value)
    for kind in SECTIONS:
        if kind in value and (value[kind] is not None or kind == "resource"):
            stored[kind] = checker.check((*path, kind), kind, value[kind])
    timeout = value.get("create_timeout")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0):
        what = f"it is {places.kind(timeout)}" if not isinstance(timeout, int | float) else "it is not"
        report.add((*path, "create_timeout"), f"must be a number of seconds greater than 0, {what}")
    return {key: item for key, item in stored.items() if item is not None}
