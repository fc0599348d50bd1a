"""Turns what pydantic complains of into problems that a person understands, at their places in the document.

Called by schema.py and definitions.py. Values are never shown, only what kind they are: they may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from occo_celery.compiler import places, shapes

#: pydantic's type of error -> what it wanted to see.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "empty",
}
_SENTENCES = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have at least {min_length} items, it has {actual_length}",
    "too_long": "must have at most {max_length} items, it has {actual_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "does not match the pattern {pattern}",
    "finite_number": "must be a finite number",
}
#: Errors that say that a value is none of those allowed.
CHOICES = frozenset({"literal_error", "enum"})

#: Errors that say that the kind of value is wrong, whatever the text would be.
TYPE_ERRORS = frozenset(_EXPECTED)

_JARGON = re.compile(r"^(?:Input should be|Value error,|Assertion failed,)\s*(?:a valid )?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Complaint:
    """One error, with what was expected (then several of one place become one), or a sentence."""

    path: places.Path
    kind: str
    expected: str | None = None
    message: str = ""
    hint: str | None = None
    key: bool = False
    member: tuple[places.Path, Any] | None = None  # where a union is, and which member of it complains


def explain(
    report: places.Report,
    prefix: places.Path,
    value: Any,
    model: type[pydantic.BaseModel],
    problem: pydantic.ValidationError,
    *,
    skip: Mapping[places.Path, frozenset[str]] | None = None,
) -> None:
    """Add every error of validating ``value``, which stands at ``prefix``, to the report.

    skip: for paths below prefix, the only types of errors that are worth telling there.
    """
    found: list[_Complaint] = []
    for error in problem.errors(include_url=False):
        path, rest = _walk(value, error["loc"])
        if skip is None or path not in skip or error["type"] in skip[path] or path == ():
            one = _complaint(report, value, model, error, path, rest)
            found.append(replace(one, member=_member(value, error)))
    expected: dict[places.Path, list[str]] = {}
    for one in _reduced(found):
        if one.expected is None:
            report.add((*prefix, *one.path), one.message, hint=one.hint, key=one.key)
        else:
            expected.setdefault(one.path, []).append(one.expected)
    for path, kinds in expected.items():
        _mismatch(report, (*prefix, *path), list(dict.fromkeys(kinds)), _get(value, path))


def _complaint(
    report: places.Report,
    value: Any,
    model: type[pydantic.BaseModel],
    error: ErrorDetails,
    path: places.Path,
    rest: places.Path,
) -> _Complaint:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        written = _get(value, path)
        others = [key for key in written if key not in shapes.keys(model, path)] if isinstance(written, dict) else []
        near = report.nearest(rest[-1], others)
        hint = f"there is {near!r}" if near is not None else None
        return _Complaint(path=path, kind=kind, message=f"the key {rest[-1]!r} is missing", hint=hint)
    if kind == "extra_forbidden":
        allowed = [key for key in dict.fromkeys(shapes.keys(model, error["loc"][:-1])) if key != path[-1]]
        hint = report.did_you_mean(path[-1], allowed)
        if hint is None and allowed:
            hint = f"possible: {', '.join(allowed)}"
        return _Complaint(path=path, kind=kind, message=f"unknown key {places.quote(path[-1])}", hint=hint, key=True)
    if kind == "union_tag_not_found":
        return _Complaint(path=path, kind=kind, message=f"the key {context['discriminator']} is missing")
    if kind == "union_tag_invalid":
        message = f"its {context['discriminator']} must be one of {context['expected_tags']}"
        return _Complaint(path=path, kind=kind, message=message)
    if kind in CHOICES:
        hint = report.did_you_mean(_get(value, path), shapes.words(model, error["loc"]))
        expected = str(context.get("expected", "")).replace(" or ", ", ")
        message = f"must be one of {expected}" if "," in expected else f"must be {expected}"
        return _Complaint(path=path, kind=kind, message=message, hint=hint)
    if kind in _EXPECTED:
        return _Complaint(path=path, kind=kind, expected=_EXPECTED[kind])
    if kind in ("too_short", "string_too_short") and context.get("min_length") == 1:
        return _Complaint(path=path, kind=kind, message="must not be empty")
    message = _SENTENCES[kind].format(**context) if kind in _SENTENCES else _JARGON.sub("must be ", error["msg"])
    if kind in ("value_error", "assertion_error"):
        message = str(context.get("error", error["msg"]))
    hint = context.get("hint")
    return _Complaint(path=path, kind=kind, message=message, hint=hint, key="[key]" in rest)


def _reduced(found: list[_Complaint]) -> list[_Complaint]:
    """Without what only repeats: a key that is missing because it is misspelt, members of a union that were not
    meant where another was more nearly met."""
    misspelt = {
        (one.path[:-1], f"the key {one.hint[13:-1]} is missing")
        for one in found
        if one.kind == "extra_forbidden" and one.hint and one.hint.startswith("did you mean ")
    }
    meant = _nearest_members([one for one in found if (one.path, one.message) not in misspelt])
    return [
        one
        for one in found
        if (one.path, one.message) not in misspelt and (one.member is None or one.member[1] in meant[one.member[0]])
    ]


def _nearest_members(found: list[_Complaint]) -> dict[places.Path, set[Any]]:
    """For each union the member that complains least; all of them where each only says that the kind is wrong."""
    unions: dict[places.Path, dict[Any, list[_Complaint]]] = {}
    for one in found:
        if one.member is not None:
            unions.setdefault(one.member[0], {}).setdefault(one.member[1], []).append(one)
    meant: dict[places.Path, set[Any]] = {}
    for path, members in unions.items():
        kind_is_right = {
            tag: some
            for tag, some in members.items()
            if any(one.path != path or one.expected is None for one in some)
        }
        meant[path] = {min(kind_is_right, key=lambda tag: len(kind_is_right[tag]))} if kind_is_right else set(members)
    return meant


def _member(value: Any, error: ErrorDetails) -> tuple[places.Path, Any] | None:
    """The outermost union on the way to an error: its path, and the tag that pydantic puts there."""
    loc = error["loc"]
    for length, step in enumerate(loc):
        path, rest = _walk(value, loc[: length + 1])
        if rest and not (error["type"] == "missing" and length == len(loc) - 1):
            return path, step
    return None


def _mismatch(report: places.Report, path: places.Path, expected: list[str], value: Any) -> None:
    hint = None
    if "a string" in expected and isinstance(value, int | float):
        hint = "put it in quotes" if report.located else "write it as a string"
    elif isinstance(value, str) and ("a whole number" in expected or "a number" in expected):
        hint = "write it without quotes" if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) else None
    elif expected == ["true or false"] and isinstance(value, str):
        hint = "in YAML 1.2 these are true and false, not yes, no, on, off"
    report.add(path, f"must be {' or '.join(expected)}, it is {places.kind(value)}", hint=hint)


def _walk(value: Any, loc: places.Path) -> tuple[places.Path, places.Path]:
    """The part of pydantic's location that is in the value, and what is not: union tags, keys that are missing."""
    path: list[Any] = []
    rest: list[Any] = []
    for step in loc:
        if (isinstance(value, dict) and step in value) or (
            isinstance(value, list) and isinstance(step, int) and step < len(value)
        ):
            path.append(step)
            value = value[step]
        else:
            rest.append(step)
    return tuple(path), tuple(rest)


def _get(value: Any, path: places.Path) -> Any:
    for step in path:
        value = value[step]
    return value
