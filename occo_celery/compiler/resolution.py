"""What a plain YAML scalar means: YAML 1.2 core schema, and where a YAML 1.1 reader would differ.

Called by source.py. The patterns of 1.2 are those of the YAML 1.2.2 specification, section 10.3.2; those of 1.1 are
PyYAML's own, the reader that users of Occopus know.
"""

from __future__ import annotations

import math
import re

import yaml

Scalar = str | int | float | bool | None

#: No number of a description needs more; JSON readers and SQL stop there.
LARGEST = 2**64 - 1
SMALLEST = -(2**63)

_FIRST = frozenset("~nNtTfF+-.0123456789")
_WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES = {"0o": 8, "0x": 16}
#: Longer ones are strings for 1.1 and 1.2 alike, or numbers that are refused anyway.
_LONGEST_NUMBER = 400

_YAML_1_1 = yaml.SafeLoader.yaml_implicit_resolvers
_TAG = "tag:yaml.org,2002:"
_READ_AS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "null": "empty",
    "timestamp": "a date",
    "str": "a string",
}


class NotJson(ValueError):
    """A scalar that YAML can say and JSON cannot; its text is the message for a person."""


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted) scalar. Raises NotJson."""
    if text in _WORDS:
        return _WORDS[text]
    if not text or text[0] not in _FIRST or len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        value = int(text[2:], _BASES[text[:2]]) if text[:2] in _BASES else int(text)
        if not SMALLEST <= value <= LARGEST:
            raise NotJson("the number has more than 64 bits")
        return value
    if _NOT_JSON.fullmatch(text):
        raise NotJson("infinity and not-a-number cannot be stored as JSON")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise NotJson("the number is too large")
        return number
    return text


def difference(text: str, value: Scalar) -> str | None:
    """How a YAML 1.1 reader understands a plain scalar, where that is not ``value``; None when both agree."""
    resolvers = _YAML_1_1.get(text[:1])
    if not resolvers or len(text) > _LONGEST_NUMBER:
        return None
    kind = next((tag.removeprefix(_TAG) for tag, pattern in resolvers if pattern.match(text)), "str")
    if kind not in _READ_AS:  # `=` and `<<`: nobody means those
        return None
    if kind == "int" and isinstance(value, int) and text.lstrip("+-").startswith("0") and text[:2] != "0x" and value:
        return "an octal number" if len(text.lstrip("+-")) > 1 else None
    return None if kind == _kind(value) else _READ_AS[kind]


def _kind(value: Scalar) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "str"
