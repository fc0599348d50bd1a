"""Copies untrusted data into plain JSON data, counting what it holds with every alias written out.

Called by compile.py and definitions.py on what source.py read or a caller handed over. Shared parts stay shared in
the copy, so a "billion laughs" is counted, not expanded; only what is small enough may be stored as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from occo_celery.compiler import builder, places, resolution

#: Values that may be stored; a long text counts as several.
MAX_EXPANDED = 1_000_000
_CHARACTERS_A_VALUE = 32

#: Stands for the name of a node that has none; no user can write it, because NUL is refused.
UNNAMED = "\0unnamed"

# PostgreSQL cannot store NUL in JSON, and UTF-8 has no halves of characters.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# The usual ones first: to ask whether something is any other kind of mapping takes long.
_CONTAINERS = (dict, list, tuple, Mapping)

_Copied = tuple[Any, int, int]  # the copy, its weight, its height


class Copier:
    """Adds problems for what is not JSON to the report; raises SchemaError when it is too large.

    names: what to put under ``dependencies`` for mappings with these ids: references to nodes.
    """

    def __init__(self, report: places.Report, names: Mapping[int, str] | None = None) -> None:
        self._report = report
        self._names: Mapping[int, str] = {}
        self._references: Copier | None = None
        if names:  # a second copier, because elsewhere the same mapping is to be copied
            self._references = Copier(report)
            self._references._names = names
        self._done: dict[int, _Copied] = {}
        self._open: set[int] = set()

    def root(self) -> Any:
        """The report's root as plain JSON data."""
        return self.copy(self._report.root, ())[0]

    def weight(self, value: Any) -> int:
        """How many values a container holds that has been copied; 0 for others."""
        return self._done.get(id(value), (None, 0, 0))[1]

    def copy(self, value: Any, path: places.Path) -> _Copied:
        if isinstance(value, str):
            return self._text(value, path), 1 + len(value) // _CHARACTERS_A_VALUE, 0
        if self._references is not None and path == ("dependencies",):
            return self._references.copy(value, path)
        if value is None or isinstance(value, bool):
            return value, 1, 0
        if isinstance(value, int) and resolution.SMALLEST <= value <= resolution.LARGEST:
            return value, 1, 0
        if isinstance(value, _CONTAINERS):
            return self._container(value, path)
        if isinstance(value, float) and math.isfinite(value):
            return value, 1, 0
        if isinstance(value, int | float):
            self._report.add(path, f"the number {places.quote(value, 30)} cannot be stored as JSON")
        else:
            self._report.add(path, f"{places.kind(value)} cannot be stored as JSON")
        self._report.unknown.add(path)
        return None, 1, 0

    def _container(self, value: Any, path: places.Path) -> _Copied:
        if id(value) in self._names:
            return self._names[id(value)], 1, 0
        done = self._done.get(id(value))
        if id(value) in self._open:
            self._report.add(path, "contains itself")
        elif len(path) + (done[2] if done else 0) >= builder.MAX_DEPTH + 1:
            self._report.add(path, f"nested more than {builder.MAX_DEPTH} levels deep")
        elif done:
            return done
        else:
            self._open.add(id(value))
            found = self._mapping(value, path) if isinstance(value, Mapping) else self._list(value, path)
            self._open.discard(id(value))
            self._done[id(value)] = found
            return found
        self._report.unknown.add(path)
        return None, 1, 0

    def _mapping(self, value: Mapping[Any, Any], path: places.Path) -> _Copied:
        copied: dict[str, Any] = {}
        weight, height = 1, 0
        for key, item in value.items():
            if not isinstance(key, str):
                what = (
                    f"{places.kind(key)} ({places.quote(key)})" if isinstance(key, int | float) else places.kind(key)
                )
                hint = "put it in quotes" if self._report.located and key is not None else None
                self._report.add((*path, key), f"a key must be a string, it is {what}", hint=hint, key=True)
                continue
            if _UNSTORABLE.search(key) or len(key) > builder.MAX_SCALAR:
                wrong = "is too long" if len(key) > builder.MAX_SCALAR else "holds a character that cannot be stored"
                self._report.add((*path, key), f"the key {wrong}", key=True)
                continue
            copied[key], item_weight, item_height = self.copy(item, (*path, key))
            weight += item_weight + len(key) // _CHARACTERS_A_VALUE
            height = max(height, item_height + 1)
            if weight > MAX_EXPANDED:
                self._too_large(path)
        return copied, weight, height

    def _list(self, value: Any, path: places.Path) -> _Copied:
        copied: list[Any] = []
        weight, height = 1, 0
        for index, item in enumerate(value):
            made, item_weight, item_height = self.copy(item, (*path, index))
            copied.append(made)
            weight += item_weight
            height = max(height, item_height + 1)
            if weight > MAX_EXPANDED:
                self._too_large(path)
        return copied, weight, height

    def _text(self, value: str, path: places.Path) -> str:
        if _UNSTORABLE.search(value):
            self._report.add(path, "the text holds a character that cannot be stored (NUL, or half of one)")
            self._report.unknown.add(path)
        elif len(value) > builder.MAX_SCALAR:
            self._report.add(path, f"a text of {len(value):,} characters, at most {builder.MAX_SCALAR:,} are read")
        return value

    def _too_large(self, path: places.Path) -> None:
        self._report.add(path, f"holds more than {MAX_EXPANDED:,} values, counting each alias as what it stands for")
        self._report.check()
