"""Looks into pydantic models: which keys are allowed at a path, what is expected there, which fields are marked.

Called by sentences.py (hints), sections.py and json_schema.py (marks of plugin sections), and wiring.py.
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
from pydantic import fields

from occo_celery.compiler import places

#: Marks that a plugin puts on fields of its section, as ``Field(json_schema_extra={MARK: True})``.
#: SENSITIVE: the value is a secret. FIXED: it chooses the account, before anything is rendered or fetched. PUBLIC:
#: others can read it, so that it must not hold a secret.
SENSITIVE, FIXED, PUBLIC = "sensitive", "fixed", "public"

_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)


def keys(model: type[pydantic.BaseModel], path: places.Path) -> list[str]:
    """The keys of the model, or of the models that are possible at a path inside it."""
    return [name for annotation in at(model, path) if _is_model(annotation) for name, _ in _fields(annotation)]


def words(model: type[pydantic.BaseModel], path: places.Path) -> list[str]:
    """The strings that a Literal or Enum allows at a path."""
    found: list[str] = []
    for annotation in at(model, path):
        if typing.get_origin(annotation) is typing.Literal:
            found += [word for word in typing.get_args(annotation) if isinstance(word, str)]
        elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            found += [member.value for member in annotation if isinstance(member.value, str)]
    return found


def marked(model: type[pydantic.BaseModel], section: Mapping[str, Any], mark: str) -> Iterator[places.Path]:
    """The paths of all scalars of a section that stand where the model puts a mark on its field."""
    yield from _marked([model], section, (), mark)


def marked_keys(model: type[pydantic.BaseModel], mark: str) -> list[str]:
    """The keys of the model itself that have a mark."""
    return [name for name, info in _fields(model) if _has(info, mark)]


def at(model: type[pydantic.BaseModel], path: places.Path) -> list[Any]:
    """The annotations that are possible at a path, unions taken apart. Union tags in the path are skipped."""
    found: list[Any] = [model]
    for step in path:
        found = [alternative for one, _ in _step(found, step) for alternative in _alternatives(one)] or found
    return found


def _marked(annotations: list[Any], value: Any, path: places.Path, mark: str) -> Iterator[places.Path]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        below = _step(annotations, key)
        if any(_has(info, mark) for _, info in below):
            yield from _scalars(item, (*path, key))
        else:
            some = [alternative for one, _ in below for alternative in _alternatives(one)]
            yield from _marked(some, item, (*path, key), mark)


def _scalars(value: Any, path: places.Path) -> Iterator[places.Path]:
    """A reference to a secret is a mapping, so it must have been replaced before."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _scalars(item, (*path, key))
    elif value is not None:
        yield path


def _step(annotations: list[Any], step: Any) -> list[tuple[Any, Any]]:
    """What the annotations say of a key or index below them: its annotation, and what may have marks."""
    found: list[tuple[Any, Any]] = []
    for annotation in annotations:
        origin = typing.get_origin(annotation)
        arguments = [one for one in typing.get_args(annotation) if one is not ...]
        if _is_model(annotation):
            found += [(info.annotation, info) for name, info in _fields(annotation) if name == step]
        elif origin in _MAPPINGS and arguments:
            found.append((arguments[-1], arguments[-1]))
        elif origin in _LISTS and isinstance(step, int):
            found += [(one, one) for one in arguments]
    return found


def _fields(model: type[pydantic.BaseModel]) -> Iterator[tuple[str, fields.FieldInfo]]:
    for name, info in model.model_fields.items():
        yield info.alias or name, info


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _has(told: Any, mark: str) -> bool:
    """Does a field have a mark, or an annotation: ``Annotated[..., Field(json_schema_extra={MARK: True})]``, also as
    one of a union?"""
    if isinstance(told, fields.FieldInfo):
        extra = told.json_schema_extra
        return (isinstance(extra, dict) and bool(extra.get(mark))) or _has(told.annotation, mark)
    for one in _alternatives(told, keep=True):
        metadata = typing.get_args(one)[1:] if typing.get_origin(one) is typing.Annotated else ()
        if any(isinstance(each, fields.FieldInfo) and _has(each, mark) for each in metadata):
            return True
    return False


def _alternatives(annotation: Any, *, keep: bool = False) -> list[Any]:
    """A union taken apart; keep: with what Annotated says."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated and not keep:
        return _alternatives(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [one for part in typing.get_args(annotation) for one in _alternatives(part, keep=keep)]
    return [annotation]
