"""The shape of an infrastructure description (behaviour.md, section 2), checked without stopping at the first error.

Called by compile.py. What concerns several parts at once (names that must exist, cycles, filters) is in checks.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic_core import PydanticCustomError

from occo_celery.compiler import places, sentences

#: RFC 1123, section 2.1, and RFC 1035, section 2.3.4: a label of a host name.
LONGEST_NAME = 63
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]")


def _wrong(kind: str, message: str, hint: str | None = None) -> PydanticCustomError:
    return PydanticCustomError(kind, "{message}", {"message": message, "hint": hint})


def _host_name(name: str) -> str:
    wrong = _NOT_IN_NAMES.search(name)
    if not name:
        raise _wrong("host_name", "must not be empty")
    if wrong:
        reason = f"contains {places.quote(wrong.group())}; a name consists of letters, digits and -"
    elif name.startswith("-") or name.endswith("-"):
        reason = f"{'begins' if name.startswith('-') else 'ends'} with -"
    elif len(name) > LONGEST_NAME:
        reason = f"has {len(name)} characters; a name has at most {LONGEST_NAME}"
    else:
        return name
    better = _NOT_IN_NAMES.sub("-", name)[:LONGEST_NAME].strip("-")
    hint = f"for example {better!r}" if better else None
    raise _wrong("host_name", f"{places.quote(name)} is not a host name: it {reason}", hint)


def _node_name(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong("node_name", f"must be the name or alias of a node, it is {places.kind(value)}")
    return value


def _pair_of(what: str) -> pydantic.AfterValidator:
    def check(value: list[Any]) -> list[Any]:
        if len(value) != 2:
            raise _wrong("pair", f"must be a pair {what}, it has {len(value)} item{'' if len(value) == 1 else 's'}")
        return value

    return pydantic.AfterValidator(check)


# What editors are told (json_schema.py) of what only our own functions check.
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$", "maxLength": LONGEST_NAME}
_PAIR = {"type": "array", "minItems": 2, "maxItems": 2}
_NODES = {**_PAIR, "items": {"type": ["string", "object"]}}  # an alias is the node itself
_ATTRIBUTES = {**_PAIR, "items": {"type": "string", "minLength": 1}}

HostName = Annotated[str, pydantic.AfterValidator(_host_name), pydantic.WithJsonSchema(_NAME)]
Word = Annotated[str, pydantic.Field(min_length=1)]
NodePair = Annotated[
    list[Annotated[Any, pydantic.AfterValidator(_node_name)]],
    _pair_of("[dependent, dependee]"),
    pydantic.WithJsonSchema(_NODES),
]
AttributePair = Annotated[
    list[Word],
    _pair_of("[attribute of the dependee, name of it in the dependent]"),
    pydantic.WithJsonSchema(_ATTRIBUTES),
]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class _Open(pydantic.BaseModel):
    """Keys that are not known here are kept."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True)


class Infrastructure(_Strict):
    """The top level; ``nodes`` and ``dependencies`` are validated one by one, so that errors stay bounded."""

    infra_name: HostName
    nodes: list[Any]
    user_id: str | None = None
    dependencies: list[Any] | None = None
    variables: dict[str, Any] | None = None


class Scaling(_Strict):
    min: Annotated[int, pydantic.Field(ge=0)] = 1
    max: Annotated[int, pydantic.Field(ge=1)] | None = None

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Scaling:
        if self.max is not None and self.max < self.min:
            hint = "min is 1 unless given" if "min" not in self.model_fields_set else "without max, it is min"
            raise _wrong("scaling", f"max is {self.max}, less than min, which is {self.min}", hint)
        return self


class Node(_Strict):
    name: HostName
    type: Word
    scaling: Scaling | None = None
    filter: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None


class AttributeMapping(_Open):
    attributes: AttributePair
    synch: bool = False


class Dependency(_Open):
    connection: NodePair
    mappings: list[AttributeMapping] | None = None


_Model = TypeVar("_Model", bound=pydantic.BaseModel)


def infrastructure(report: places.Report, data: Any) -> Infrastructure | None:
    """The top level. None when it is wrong, which the report then says."""
    if isinstance(data, dict) and data.get("dependencies") == {}:
        data = {**data, "dependencies": None}
    return _validate(report, Infrastructure, data, data, ())


def nodes(report: places.Report, data: list[Any]) -> list[Node]:
    """All nodes that are as they should be."""
    found = (_validate(report, Node, item, item, ("nodes", index)) for index, item in enumerate(data))
    return [node for node in found if node is not None]


def dependencies(report: places.Report, data: list[Any]) -> list[Dependency]:
    """All dependencies that are as they should be, pairs as mappings."""
    found: list[Dependency] = []
    for index, item in enumerate(data):
        path = ("dependencies", index)
        if not isinstance(item, dict | list):
            message = (
                f"must be a pair [dependent, dependee] or a mapping with 'connection', it is {places.kind(item)}"
            )
            report.add(path, message)
            continue
        full = _full(item)
        if (dependency := _validate(report, Dependency, full, item, path)) is not None:
            _warn(report, dependency, path)
            found.append(dependency)
    return found


def _full(item: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """A dependency with its short forms written out."""
    if isinstance(item, list):
        return {"connection": item}
    mappings = item.get("mappings")
    if not isinstance(mappings, list):
        return item
    return {**item, "mappings": [{"attributes": one} if isinstance(one, list) else one for one in mappings]}


def _validate(
    report: places.Report, model: type[_Model], value: Any, written: Any, path: places.Path
) -> _Model | None:
    """written: the value as the user wrote it, where the places of errors are looked up."""
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as problem:
        sentences.explain(report, path, written, model, problem)
        return None


def _warn(report: places.Report, dependency: Dependency, path: places.Path) -> None:
    """Unknown keys of a dependency are kept, but one that is nearly right was probably meant."""
    for key in dependency.model_extra or ():
        if near := report.nearest(key, Dependency.model_fields):
            hint = f"the key {places.quote(key)} is kept and not looked at; did you mean {near!r}?"
            report.warn((*path, key), hint, key=True)
