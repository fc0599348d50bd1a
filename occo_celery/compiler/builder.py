"""Builds Python data from the events of libyaml, within bounds, and writes down where everything stood.

Called by source.py, once for each text. Iterative: composing recursively, as PyYAML does, ends the process with a
segmentation fault at some 24,000 nested brackets. An alias yields the very object that its anchor named, so a
"billion laughs" is small here; who copies or stores the result counts what it expands to (plain.py).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import yaml
from yaml import reader

from occo_celery.compiler import places, resolution

try:
    from yaml import cyaml
except ImportError:  # source.py says so, when there is something to read
    cyaml = None  # type: ignore[assignment]

MAX_DEPTH = 32
MAX_EVENTS = 600_000
MAX_ANCHORS = 20_000
MAX_SCALAR = 64 * 1024  # characters
MAX_MERGED = 100_000  # keys copied by `<<`

IMPORT_TAGS = ("!yaml_import", "!text_import")

#: Makes the value of an import: (tag, its mapping, path, packed place). Raises Unknown.
Importer = Callable[[str, Any, places.Path, int], Any]

_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
#: libyaml from 0.2.6 on has a bound of its own, 1,000 brackets, and meets it before it hands out the first event
_TOO_DEEP_FOR_LIBYAML = "exceeded maximum nesting depth"

_INDENTATION = "look at the indentation of this line and of those before it"
_HINTS = {
    "mapping values are not allowed in this context": f"a value that contains `: ` needs quotes; or {_INDENTATION}",
    "found character that cannot start any token": "tabs cannot indent; a value that begins with @ or ` needs quotes",
    "did not find expected key": f"{_INDENTATION}; or a quote, bracket or comma is missing",
    "did not find expected '-' indicator": _INDENTATION,
    "could not find expected ':'": "a key is followed by a colon and a space",
    "found unexpected end of stream": "a quote that was opened is never closed",
    "did not find expected ',' or ']'": "a bracket that was opened is not closed, or a comma is missing",
    "did not find expected ',' or '}'": "a brace that was opened is not closed, or a comma is missing",
}


class Stop(Exception):
    """Nothing more can be read from this text; why is in the report."""


class Unknown(Exception):
    """The value of an import cannot be had; why is in the report."""


class Budget:
    """What one description may use, all imported texts together."""

    def __init__(self) -> None:
        self.events = MAX_EVENTS
        self.anchors = MAX_ANCHORS
        self.merged = MAX_MERGED


class _Awaits(enum.Enum):
    """What the next node of a mapping is."""

    KEY = enum.auto()
    VALUE = enum.auto()
    MERGE = enum.auto()  # the value of `<<`
    DISCARD = enum.auto()  # a value whose key was refused


# names of their own: to reach a member through its Enum is slow, and these are asked for with each word
_KEY, _VALUE, _MERGE, _DISCARD = _Awaits


class _Frame:
    """A container that is still open."""

    __slots__ = ("anchor", "awaits", "container", "key", "marks", "merges", "tag")

    def __init__(self, container: Any, marks: places.Marks, anchor: str | None, tag: str | None) -> None:
        self.container, self.marks, self.anchor, self.tag = container, marks, anchor, tag
        self.awaits = _KEY
        self.key: Any = None
        self.merges: list[tuple[Any, int]] = []


class Builder:
    """Reads one text. prefix: where its root belongs in the whole document; importer: None where none is allowed."""

    def __init__(
        self,
        text: str,
        report: places.Report,
        budget: Budget,
        *,
        file: str | None,
        prefix: places.Path = (),
        importer: Importer | None = None,
    ) -> None:
        self._text, self._report, self._budget = text, report, budget
        self._file, self._prefix, self._importer = file, prefix, importer
        self._root: Any = None
        self._documents = 0
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._known: dict[str, resolution.Scalar] = {}  # of which there is nothing to say; most words come often
        self._building: set[str] = set()

    def build(self) -> Any:
        """The root of the document. Raises Stop."""
        act: dict[type, Callable[[Any], None]] = {
            yaml.DocumentStartEvent: self._begin,
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: lambda event: self._open({}, event),
            yaml.SequenceStartEvent: lambda event: self._open([], event),
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
        }
        for event in self._events():
            if (handle := act.get(type(event))) is not None:
                handle(event)
        return self._root

    # --- events -----------------------------------------------------------------------------------------------

    def _events(self) -> Iterator[Any]:
        try:
            get_event = cyaml.CParser(self._text).get_event  # type: ignore[attr-defined]  # the stubs lack it
            while type(event := get_event()) is not yaml.StreamEndEvent:
                self._budget.events -= 1
                if self._budget.events < 0:
                    self._stop(f"larger than the {MAX_EVENTS:,} words and brackets that are read", _start(event))
                yield event
        except reader.ReaderError as problem:
            before = self._text.encode()[: problem.position].decode(errors="ignore")
            column = len(before) - (before.rfind("\n") + 1)
            self._stop(f"not YAML: {problem.reason}", places.pack(before.count("\n"), column))
        except yaml.MarkedYAMLError as problem:
            self._syntax(problem)

    def _syntax(self, problem: yaml.MarkedYAMLError) -> NoReturn:
        mark, began = problem.problem_mark, problem.context_mark
        message = "not YAML: " + ", ".join(part for part in (problem.context, problem.problem) if part)
        if problem.problem == _TOO_DEEP_FOR_LIBYAML:
            message = _TOO_DEEP
        elif began is not None and mark is not None and began.line != mark.line:
            message += f" (it began at line {began.line + 1})"
        place = places.pack(mark.line, mark.column) if mark is not None else 0
        self._report.add_at(self._prefix, message, self._file, place, hint=_HINTS.get(problem.problem or ""))
        raise Stop

    def _stop(self, message: str, place: int, *, hint: str | None = None) -> NoReturn:
        self._report.add_at(self._path(), message, self._file, place, hint=hint)
        raise Stop

    def _complain(self, message: str, place: int, *, hint: str | None = None, unknown: bool = False) -> None:
        path = self._path()
        self._report.add_at(path, message, self._file, place, hint=hint)
        if unknown and not (self._frames and self._frames[-1].awaits is _KEY and self._in_mapping()):
            self._report.unknown.add(path)

    def _path(self) -> places.Path:
        """Where the next value goes."""
        path: list[Any] = list(self._prefix)
        for frame in self._frames:
            if isinstance(frame.container, list):
                path.append(len(frame.container))
            elif frame.awaits is not _KEY:
                path.append(frame.key)
        return tuple(path)

    def _in_mapping(self) -> bool:
        return isinstance(self._frames[-1].container, dict)

    # --- nodes ------------------------------------------------------------------------------------------------

    def _begin(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop("a second document begins here, only one is read", _start(event))

    def _scalar(self, event: Any) -> None:
        text, place = event.value, _start(event)
        if len(text) > MAX_SCALAR:
            self._stop(f"a text of {len(text):,} characters, at most {MAX_SCALAR:,} are read", place)
        plain = event.tag is None and event.implicit[0]
        value: Any = text
        if plain:
            value = self._known[text] if text in self._known else self._resolve(text, place)
        elif event.tag is not None:
            self._tag(event.tag, place)
        if event.anchor is not None:
            self._anchor(event.anchor, value, place)
        self._put(value, place, merge=plain and text == "<<")

    def _resolve(self, text: str, place: int) -> Any:
        try:
            value = resolution.resolve(text)
        except resolution.NotJson as problem:
            self._complain(f"{problem}: {places.quote(text)}", place, hint="put it in quotes", unknown=True)
            return text
        if other := resolution.difference(text, value):
            shown = places.quote(text)
            self._report.warn_at(
                text,
                f"{text[:60]} is read as {'the string ' + shown if isinstance(value, str) else value} (YAML 1.2), a "
                f"YAML 1.1 reader takes it for {other}; "
                + ("put it in quotes" if isinstance(value, str) else "write it in another way"),
                self._file,
                place,
            )
        else:
            self._known[text] = value
        return value

    def _tag(self, tag: str, place: int) -> None:
        """Complain of a tag that no import bears, or of an import that has no mapping."""
        if tag not in IMPORT_TAGS:
            near = self._report.nearest(tag, IMPORT_TAGS) if self._importer is not None else None
            hint = f"did you mean {near!r}?" if near else "write the value without it"
            self._complain(f"unknown tag {places.quote(tag)}", place, hint=hint, unknown=True)
        elif self._importer is None:
            self._refuse_import(tag, place)
        else:
            self._complain(f"{tag} without a url", place, hint=f"write {tag} {{url: file://path}}", unknown=True)

    def _refuse_import(self, tag: str, place: int) -> None:
        self._complain(
            f"{tag} is not allowed in an infrastructure description or a posted text",
            place,
            hint="imports work in files of node definitions only",
            unknown=True,
        )

    def _open(self, container: Any, event: Any) -> None:
        place = _start(event)
        if len(self._frames) >= MAX_DEPTH:
            self._stop(_TOO_DEEP, place)
        tag: str | None = event.tag
        if tag is not None and (tag not in IMPORT_TAGS or self._importer is None or isinstance(container, list)):
            self._tag(tag, place)
            tag = None
        if event.anchor is not None:
            self._building.add(event.anchor)
        marks = places.Marks(container, self._file, place)
        self._report.mark(marks)
        self._frames.append(_Frame(container, marks, event.anchor, tag))

    def _close(self, _: Any) -> None:
        frame = self._frames.pop()
        value, place = frame.container, frame.marks.start
        if frame.merges:
            self._merge(frame)
        if frame.tag is not None and self._importer is not None:
            try:
                value = self._importer(frame.tag, value, self._path(), place)
            except Unknown:
                value = None
                self._report.unknown.add(self._path())
        if frame.anchor is not None:
            self._building.discard(frame.anchor)
            self._anchor(frame.anchor, value, place)
        self._put(value, place)

    def _anchor(self, name: str, value: Any, place: int) -> None:
        self._budget.anchors -= 1
        if self._budget.anchors < 0:
            self._stop(f"more than {MAX_ANCHORS:,} anchors", place)
        if name in self._anchors:
            hint = f"the first is at line {places.line(self._anchors[name][1])}"
            self._complain(f"the anchor &{name} is defined again", place, hint=hint)
        else:
            self._anchors[name] = (value, place)

    def _alias(self, event: Any) -> None:
        name, place = event.anchor, _start(event)
        if name in self._anchors:
            self._put(self._anchors[name][0], place)
            return
        if name in self._building:
            self._complain(f"the alias *{name} stands inside of what it names", place, unknown=True)
        else:
            near = self._report.nearest(name, self._anchors)
            hint = f"did you mean *{near}?" if near else f"write &{name} before the thing that is meant, further up"
            self._complain(f"there is no anchor for the alias *{name}", place, hint=hint, unknown=True)
        self._put(None, place)

    # --- containers -------------------------------------------------------------------------------------------

    def _put(self, value: Any, place: int, *, merge: bool = False) -> None:
        """Give a finished node to the container that is open, or make it the root."""
        if not self._frames:
            self._root = value
            return
        frame = self._frames[-1]
        container = frame.container
        if isinstance(container, list):
            frame.marks.values[len(container)] = place
            container.append(value)
            return
        if frame.awaits is _KEY:
            self._key(frame, value, place, merge)
            return
        if frame.awaits is _VALUE:
            container[frame.key] = value
            frame.marks.values[frame.key] = place
        elif frame.awaits is _MERGE:
            frame.merges.append((value, place))
        frame.awaits = _KEY

    def _key(self, frame: _Frame, value: Any, place: int, merge: bool) -> None:
        if merge and not frame.merges:
            frame.key, frame.awaits = "<<", _MERGE
        elif isinstance(value, dict | list):
            self._complain(f"a key must be a word, it is {places.kind(value)}", place)
            frame.key, frame.awaits = "?", _DISCARD
        elif value in frame.marks.keys or merge:
            first = frame.marks.keys.get(value, frame.merges[0][1] if merge else place)
            hint = f"the first is at line {places.line(first)}"
            self._complain(f"the key {places.quote(value)} is there twice", place, hint=hint)
            frame.key, frame.awaits = value, _DISCARD
        else:
            frame.key, frame.awaits = value, _VALUE
            frame.marks.keys[value] = place

    def _merge(self, frame: _Frame) -> None:
        """Add what `<<` brings: keys of the mapping itself win, then the earlier ones (YAML 1.1 merge keys)."""
        for value, place in frame.merges:
            for source in value if isinstance(value, list) else [value]:
                if not isinstance(source, dict):
                    self._complain(f"<< takes a mapping or a list of mappings, it is {places.kind(source)}", place)
                    continue
                self._budget.merged -= len(source)
                if self._budget.merged < 0:
                    self._stop(f"merge keys bring more than {MAX_MERGED:,} keys", place)
                self._merge_one(frame, source, place)

    def _merge_one(self, frame: _Frame, source: dict[Any, Any], place: int) -> None:
        marks = self._report.marks(source)
        same_file = marks is not None and marks.file == self._file
        for key, value in source.items():
            if key not in frame.container:
                frame.container[key] = value
                frame.marks.values[key] = marks.values.get(key, place) if marks and same_file else place
                frame.marks.keys[key] = marks.keys.get(key, place) if marks and same_file else place


def _start(event: Any) -> int:
    mark = event.start_mark
    return places.pack(mark.line, mark.column)
