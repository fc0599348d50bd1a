"""Checks one section of an implementation with the schema of its plugin: keys, secrets, templates.

Called by definitions.py. The plugins are handed in as functions; nothing here knows any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from occo_celery import errors
from occo_celery.compiler import places, sentences, shapes
from occo_celery.model import reference

#: (kind of section, its type or None) -> its schema. Raises PluginError.
SchemaFor = Callable[[str, str | None], type[pydantic.BaseModel]]
#: (kind, type, section) -> (path in the section, message) of every template that does not parse.
CheckTemplates = Callable[[str, str | None, Mapping[str, Any]], Iterable[tuple[str, str]]]

#: The section whose keys are the plugins; it has no type.
UNTYPED = "health_check"

#: Encrypts a value that is written where a secret belongs.
Encrypt = Callable[[str], str]

#: The ways out for whoever has written one.
BY_NAME = "write {secret: NAME} and keep the value itself in auth_data, the environment or a secrets file"

_PLACEHOLDER = "secret"  # a string like any other: what a secret is, is not known here
_FETCHED = re.compile(r"""\s*\{\{-?\s*secret\(\s*(?:'[^'"{}]+'|"[^'"{}]+")\s*\)\s*-?\}\}\s*""")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[([0-9]+)\]")


@dataclass(frozen=True, slots=True)
class Checker:
    """Adds all that is wrong with sections to a report.

    encrypt: for secrets that are written out; None: they are refused. way_out: what is said of a refused one.
    """

    report: places.Report
    schema_for: SchemaFor
    check_templates: CheckTemplates
    encrypt: Encrypt | None = None
    way_out: str = BY_NAME

    def check(self, path: places.Path, kind: str, section: Any) -> Any:
        """The section as it is to be stored: secrets that are written out are encrypted.

        kind: resource, contextualisation, config_management or health_check; path: of the section.
        """
        if not isinstance(section, dict):
            hint = "its key 'type' chooses the plugin" if kind != UNTYPED else None
            self.report.add(path, f"must be a mapping, it is {places.kind(section)}", hint=hint)
            return section
        name = None if kind == UNTYPED else section.get("type")
        if kind != UNTYPED and not isinstance(name, str):
            problem = (
                f"must be a string, it is {places.kind(name)}" if "type" in section else "the key 'type' is missing"
            )
            self.report.add((*path, "type") if "type" in section else path, problem)
            return section
        try:
            schema = self.schema_for(kind, name)
        except errors.PluginError as unknown:
            self.report.add((*path, "type") if name else path, str(unknown))
            return section
        stored, valid = self._schema(path, section, schema)
        known = shapes.keys(schema, ())
        # plugins do not know what to do with keys that their schema refuses
        checked = stored if valid else {key: value for key, value in stored.items() if key in known}
        self._templates(path, kind, name, checked, valid)
        return stored

    def _schema(
        self, path: places.Path, section: dict[str, Any], schema: type[pydantic.BaseModel]
    ) -> tuple[dict[str, Any], bool]:
        """The section as it is to be stored, and whether its schema passes it."""
        self._no_tokens(path, section)
        references: set[places.Path] = set()
        shown = _without_references(section, (), references)
        #: where the value is not known yet, its kind still is; where it should not be at all, one complaint is enough
        skip = dict.fromkeys(_templated(shown, ()), sentences.TYPE_ERRORS)
        skip |= dict.fromkeys(references, sentences.TYPE_ERRORS | sentences.CHOICES)
        for place in shapes.marked(schema, shown, shapes.FIXED):
            if place in skip:
                skip[place] = frozenset()
                problem = "must be the value itself: the account is chosen before anything is rendered or fetched"
                self.report.add((*path, *place), problem, hint="no template and no {secret: NAME}")
        for place in references.intersection(shapes.marked(schema, shown, shapes.PUBLIC)):
            self.report.add((*path, *place), "must not hold a secret: others can read it")
        for place in shapes.marked(schema, shown, shapes.SENSITIVE):
            value = _get(shown, place)
            if place not in references and not (isinstance(value, str) and _FETCHED.fullmatch(value)):
                section = _put(section, place, self._written_out((*path, *place), value))
                # what a plugin has to say of a value might show it
                text = isinstance(value, str)
                shown = _put(shown, place, _PLACEHOLDER) if text else shown
                skip[place] = sentences.TYPE_ERRORS | sentences.CHOICES if text else frozenset()
        try:
            schema.model_validate(shown)
        except pydantic.ValidationError as problem:
            sentences.explain(self.report, path, shown, schema, problem, skip=skip)
            return section, False
        return section, True

    def _written_out(self, path: places.Path, value: Any) -> Any:
        """What is to be stored of a secret that stands in a section itself."""
        if not isinstance(value, str):
            self.report.add(path, f"a secret must be a string, it is {places.kind(value)}", hint=self.way_out)
        elif "{{" in value or "{%" in value:
            self.report.add(path, "a secret must not be made by a template", hint=BY_NAME)
        elif self.encrypt is None:
            self.report.add(path, "a secret must not be written here", hint=self.way_out)
        else:
            self.report.warn(path, f"a secret is written here and will be stored encrypted; better {BY_NAME}")
            return reference.of_token(self.encrypt(value))
        return _PLACEHOLDER

    def _no_tokens(self, path: places.Path, value: Any) -> None:
        """Only what was encrypted here is opened, where it was written: elsewhere a token would show its value."""
        if reference.encrypted(value) is not None:
            hint = "write the value itself, or {secret: NAME}"
            self.report.add(path, "{encrypted: ...} is what occo stores; it cannot be written", hint=hint)
        elif isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                self._no_tokens((*path, key), item)

    def _templates(
        self, path: places.Path, kind: str, name: str | None, section: dict[str, Any], valid: bool
    ) -> None:
        try:
            for text, message in self.check_templates(kind, name, section):
                self.report.add((*path, *_find(section, text)), f"the template does not parse: {message}")
        except (LookupError, TypeError, AttributeError, ValueError, errors.PluginError):
            if valid:  # plugins may count on a section that their schema has passed, not on any other
                raise


def _without_references(value: Any, path: places.Path, found: set[places.Path]) -> Any:
    """The value with a placeholder for everything that stands for a secret, whose paths are added to ``found``."""
    if reference.secret(value) is not None or reference.encrypted(value) is not None:
        found.add(path)
        return _PLACEHOLDER
    if isinstance(value, dict):
        return {key: _without_references(item, (*path, key), found) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_references(item, (*path, index), found) for index, item in enumerate(value)]
    return value


def _templated(value: Any, path: places.Path) -> Iterable[places.Path]:
    """The paths of all strings that a template engine will change."""
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        yield path
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _templated(item, (*path, key))


def _get(value: Any, path: places.Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: places.Path, item: Any) -> Any:
    """A copy of a nested value with another item at a path; what is not on the way to it stays shared."""
    if not path:
        return item
    copied = value.copy()
    copied[path[0]] = _put(value[path[0]], path[1:], item)
    return copied


def _find(section: Any, text: str) -> places.Path:
    """A path as plugins spell it (``attributes.hosts[0]``), as far as the section has it."""
    path: list[Any] = []
    while text:
        if isinstance(section, dict) and (key := _longest_key(section, text.removeprefix("."))) is not None:
            text = text.removeprefix(".")[len(key) :]
            step: Any = key
        elif (
            isinstance(section, list)
            and (match := _STEP.match(text))
            and "".join(filter(None, match.groups())).isdigit()
        ):
            step = int(match[1] or match[2])
            text = text[match.end() :]
        else:
            break
        if isinstance(section, list) and step >= len(section):
            break
        path.append(step)
        section = section[step]
    return tuple(path)


def _longest_key(section: Mapping[str, Any], text: str) -> str | None:
    """The key that a text begins with; keys may have dots in them."""
    fitting = [key for key in section if text == key or text.startswith((f"{key}.", f"{key}["))]
    return max(fitting, key=len, default=None)
