"""What cloud-init's own JSON schema says of a cloud-config, where cloud-init is installed on this host.

The schema is that of the worker's cloud-init; an instance may have a newer one, which takes more. So only this is
refused: a list, a mapping or a plain value at a key of the top level that is to hold one of the others, which no
version has taken back yet. All else that the schema says (unknown keys, what is further in, `"yes"` for `true`) is
for a warning. What is said is made of keys, kinds and the schema's own words, never of values: they may be secrets.
Called by cloudinit.py.
"""

from __future__ import annotations

import difflib
import functools
import glob
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import exceptions

log = logging.getLogger(__name__)

#: Where packages of cloud-init have it: Debian and its kin, Fedora and its kin, an own build.
FILES = tuple(
    f"{place}/python3*/{packages}/cloudinit/config/schemas/schema-cloud-config-v1.json"
    for place in ("/usr/lib", "/usr/local/lib")
    for packages in ("dist-packages", "site-packages")
)
#: Keys of the top level that cloud-init knows and that older schemas of it do not list.
UNLISTED = frozenset({"launch-index", "merge_how", "merge_type", "output", "system_info", "version"})
#: Words of a schema that ask for nothing.
_REMARKS = frozenset({"$schema", "$id", "id", "$comment", "$defs", "definitions", "title", "description"})
#: Warnings that are told of one cloud-config; choices that are told of one place.
MOST = 10

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the schema says of one place. refused: no version of cloud-init takes it."""

    text: str
    refused: bool = False


@functools.cache
def installed(files: Sequence[str] = FILES) -> Schema | None:
    """The schema of this host's cloud-init: the first file that one of the patterns finds; None if there is none.

    Read once a process.
    """
    for pattern in files:
        for path in sorted(glob.glob(pattern)):
            try:
                with open(path, encoding="utf-8") as file:
                    return Schema(json.load(file))
            except (OSError, ValueError) as problem:
                log.warning("cloud-configs are not checked: %s cannot be read: %s", path, problem)
            except (AttributeError, LookupError, TypeError) as problem:  # a schema, or none, of a shape not met yet
                log.warning("cloud-configs are not checked: %s is not as expected: %r", path, problem)
    return None


class Schema:
    """cloud-init's schema, ready for use."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft4Validator, validators  # takes a while, and many a worker never needs it

        # cloud-init takes binary values for texts; a doubled item harms nobody, and finding it may take very long
        types = Draft4Validator.TYPE_CHECKER.redefine("string", lambda _, value: isinstance(value, str | bytes))
        own = validators.extend(Draft4Validator, {"uniqueItems": _nothing}, type_checker=types)
        whole = own(schema)
        parts = schema.get("allOf", ())
        rest = {key: one for key, one in schema.items() if key != "allOf"}
        self._validators = [(_subjects(schema, one), whole.evolve(schema=one)) for one in (rest, *parts)]
        self._words = frozenset(_properties(schema))
        self._keys = frozenset(_top(schema)) | UNLISTED

    def check(self, config: Mapping[Any, Any], source: str) -> list[Finding]:
        """All that is refused, then some of what is not. source: the template; only its keys are ever told."""
        told = functools.partial(self._told, source)
        found = dict.fromkeys(self._unknown(config, told))
        for error in self._errors(_with_text_keys(config)):
            if error.absolute_path or error.validator != "additionalProperties":  # _unknown has told of these
                found |= dict.fromkeys(_explained(error, told))
        refused = [one for one in found if one.refused]
        return refused + [one for one in found if not one.refused][:MOST]

    def _errors(self, config: Mapping[str, Any]) -> Iterator[exceptions.ValidationError]:
        """As of the whole schema. It has a part for each module, and a cloud-config names few: to ask all parts takes
        some nine times as long as to ask those that can say something."""
        for subjects, validator in self._validators:
            if subjects is None or not subjects.isdisjoint(config):
                yield from validator.iter_errors(config)

    def _unknown(self, config: Mapping[Any, Any], told: Callable[[Any], str]) -> Iterator[Finding]:
        for key in map(str, config):
            if key not in self._keys:
                near = difflib.get_close_matches(key, self._keys, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                yield Finding(text=f"the key {told(key)} is not known{hint}")

    def _told(self, source: str, step: Any) -> str:
        """A key as it may be told: what only rendering has made a key may be part of a secret."""
        return str(step) if isinstance(step, int) or step in self._words or step in source else "*"


def _nothing(*_: Any) -> Iterable[exceptions.ValidationError]:
    return ()


def _properties(schema: Any) -> Iterator[str]:
    """All keys that a schema has words for, at whatever depth."""
    if isinstance(schema, Mapping):
        for key, one in schema.items():
            if key == "properties" and isinstance(one, Mapping):
                yield from one
            yield from _properties(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from _properties(one)


def _top(schema: Mapping[str, Any]) -> Iterator[str]:
    """The keys of the top level: cloud-init's schema puts one definition a module together with allOf."""
    yield from schema.get("properties", {})
    for one in schema.get("allOf", ()):
        yield from _top(_resolved(schema, one))


def _resolved(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of allOf, or the definition that it refers to."""
    found: Mapping[str, Any] = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    return found


def _subjects(schema: Mapping[str, Any], part: Mapping[str, Any]) -> frozenset[str] | None:
    """The keys of a mapping without any of which a part says nothing of it; None if it may speak of all."""
    found = _resolved(schema, part)
    says_nothing = found.get("type", "object") == "object" and found.keys() <= {"type", "properties", *_REMARKS}
    return frozenset(found.get("properties", ())) if says_nothing else None


def _with_text_keys(value: Any) -> Any:
    """YAML takes other keys too; JSON schemas cannot."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(one) for key, one in value.items()}
    return [_with_text_keys(one) for one in value] if isinstance(value, list | tuple) else value


def _explained(error: exceptions.ValidationError, told: Callable[[Any], str]) -> Iterator[Finding]:
    """An error of jsonschema's, whose own message quotes the value, in words that do not."""
    kinds = _wanted_kinds(error)
    if not kinds and (branch := _nearest(error)):
        for one in branch:
            yield from _explained(one, told)
        return
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{told(step)}" for step in error.absolute_path)
    if kinds:
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
        text = f"must be {wanted}, it is {_KINDS[_kind(error.instance)]}"
    else:
        text = _demand(error, told)
    refused = bool(kinds) and len(error.absolute_path) == 1 and _has_no_such_shape(error.instance, kinds)
    yield Finding(text=f"{place.lstrip('.') or 'it'} {text}", refused=refused)


def _wanted_kinds(error: exceptions.ValidationError) -> list[str]:
    """The kinds that a value of another kind should have been of; empty if that is not what is wrong."""
    if error.validator == "type":
        return [error.validator_value] if isinstance(error.validator_value, str) else list(error.validator_value)
    branches = _branches(error)
    if not branches or any(not _is_of_other_kind(branch) for branch in branches):
        return []
    found = [kind for branch in branches for one in branch if not one.relative_path for kind in _wanted_kinds(one)]
    return list(dict.fromkeys(found))


def _branches(error: exceptions.ValidationError) -> list[list[exceptions.ValidationError]]:
    """What speaks against each of the forms of which one is to fit."""
    found: dict[Any, list[exceptions.ValidationError]] = {}
    for one in error.context or () if error.validator in ("oneOf", "anyOf") else ():
        found.setdefault(one.relative_schema_path[0], []).append(one)
    return list(found.values())


def _is_of_other_kind(branch: Sequence[exceptions.ValidationError]) -> bool:
    return any(not one.relative_path and _wanted_kinds(one) for one in branch)


def _nearest(error: exceptions.ValidationError) -> list[exceptions.ValidationError]:
    """What speaks against the form that was meant, as its kind shows; empty where more than one could be."""
    near = [branch for branch in _branches(error) if not _is_of_other_kind(branch)]
    return near[0] if len(near) == 1 else []


def _demand(error: exceptions.ValidationError, told: Callable[[Any], str]) -> str:
    wanted, value = error.validator_value, error.instance
    match error.validator:
        case "required":
            missing = [key for key in wanted if key not in value]
            return f"lacks the key {', '.join(missing)}"
        case "additionalProperties":
            known = list(error.schema.get("properties", {}))
            strange = [key for key in value if key not in known]
            near = difflib.get_close_matches(strange[0], known, 1) if strange else []
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}" if known else ""
            return f"has a key that is not known: {', '.join(sorted(set(map(told, strange))))}{hint}"
        case "enum":
            more = ", ..." if len(wanted) > MOST else ""
            return f"must be one of: {', '.join(map(json.dumps, wanted[:MOST]))}{more}"
        case "minItems" | "minProperties":
            return f"must have at least {wanted} entries" if wanted != 1 else "must not be empty"
        case "maxItems":
            return f"must have at most {wanted} entries"
        case "minimum":
            return f"must be at least {wanted}"
        case "maximum":
            return f"must be at most {wanted}"
        case "pattern":
            return f"must fit the pattern {wanted}"
        case _:
            return "has none of the forms that the schema knows"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case dict():
            return "object"
        case list():
            return "array"
        case _:
            return "string"


def _has_no_such_shape(value: Any, kinds: Sequence[str]) -> bool:
    """Is a value a list, a mapping or a plain one where only others are wanted? Nothing counts as none of them."""
    shapes = {"array": "list", "object": "mapping"}
    return value is not None and shapes.get(_kind(value)) not in {shapes.get(kind) for kind in kinds}
