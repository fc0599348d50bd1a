"""Where the parts of a document stand in their text, and the collection of what is wrong with them.

Filled by source.py while it reads; asked by everything in compiler/ that has something to complain of.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any

from occo_celery import errors

Path = tuple[Any, ...]  # keys and indices

#: How many words may be compared in search of the one that was meant; then hints stop, errors do not.
COMPARISONS = 20_000
#: Then reading stops: nobody reads on, and a hostile text must not make millions.
MAX_PROBLEMS = 1_000
_LONGEST_WORD = 64
_PLAIN_KEY = re.compile(r"[^\s.\[\]'\"\x00-\x1f]{1,80}")
_SHIFT = 24  # bits of a column; a document has fewer characters
_COLUMNS = (1 << _SHIFT) - 1


def pack(line: int, column: int) -> int:
    """A place as one number, counted from 0: the tables of a large document are mostly these."""
    return line << _SHIFT | column


def line(place: int) -> int:
    """The line of a packed place, counted from 1 as people do."""
    return (place >> _SHIFT) + 1


def column(place: int) -> int:
    return (place & _COLUMNS) + 1


@dataclasses.dataclass(slots=True)
class Marks:
    """The places of one container: its own, its keys' and its values'. Holds the container, so that its id stays its
    own."""

    container: dict[Any, Any] | list[Any]
    file: str | None
    start: int
    keys: dict[Any, int] = dataclasses.field(default_factory=dict)
    values: dict[Any, int] = dataclasses.field(default_factory=dict)


class Report:
    """Problems and warnings of one document (with all that it imports).

    root: what was read; located: from text, so that places are known.
    unknown: paths whose value could not be read; what is said of them later would only repeat that.
    """

    def __init__(self, root: Any = None, *, file: str | None = None, located: bool = False) -> None:
        self.root, self.file, self.located = root, file, located
        self.problems: list[errors.Problem] = []
        self.warnings: dict[str, tuple[str, int]] = {}
        self.unknown: set[Path] = set()
        self._marks: dict[int, Marks] = {}
        self._order: list[tuple[Any, ...]] = []
        self._files: dict[str | None, int] = {file: 0}
        self._comparisons = COMPARISONS

    def mark(self, marks: Marks) -> None:
        self._marks[id(marks.container)] = marks

    def marks(self, container: Any) -> Marks | None:
        return self._marks.get(id(container))

    def add(self, path: Path, message: str, *, hint: str | None = None, key: bool = False) -> None:
        """A problem at a path of the document; key: the key is what is wrong, not its value."""
        if any(path[:length] in self.unknown for length in range(len(path) + 1)):
            return
        file, packed = self._locate(path, key)
        self.add_at(path, message, file, packed, hint=hint)

    def add_at(self, path: Path, message: str, file: str | None, packed: int, *, hint: str | None = None) -> None:
        """A problem at a place that only the reader knows."""
        problem = errors.Problem(message=message, path=spell(path), file=file, hint=hint)
        if self.located:
            problem = dataclasses.replace(problem, line=line(packed), column=column(packed))
            self._order.append((self._files.setdefault(file, len(self._files)), packed))
        else:
            self._order.append(self._indices(path))
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            self.check()

    def warn(self, path: Path, message: str, *, key: bool = False) -> None:
        """A warning about a path of the document."""
        file, packed = self._locate(path, key)
        self.warn_at(spell(path), f"{spell(path)}: {message}", file, packed)

    def warn_at(self, about: str, message: str, file: str | None, packed: int) -> None:
        """A warning about a place; given once for each thing that it is about and counted after that."""
        if about in self.warnings:
            first, count = self.warnings[about]
            self.warnings[about] = (first, count + 1)
        elif len(self.warnings) < errors.SchemaError.SHOWN:
            place = (f"{file}:" if file else "") + (f"{line(packed)}:{column(packed)}: " if self.located else "")
            self.warnings[about] = (place + message, 1)

    def warning_texts(self) -> tuple[str, ...]:
        return tuple(
            first if count == 1 else f"{first} (and so in {count - 1} more places)"
            for first, count in self.warnings.values()
        )

    def check(self) -> None:
        """Raise SchemaError with all problems in document order, if there are any."""
        if self.problems:
            ranked = sorted(range(len(self.problems)), key=lambda index: self._order[index])
            found = [self.problems[index] for index in ranked]
            if len(found) >= MAX_PROBLEMS:
                found.append(errors.Problem(message="there are more problems, they are not looked for"))
            raise errors.SchemaError(found)

    def nearest(self, word: object, options: Iterable[str]) -> str | None:
        """The option that a word was probably meant to be."""
        candidates = list(options)
        self._comparisons -= len(candidates)
        if not isinstance(word, str) or len(word) > _LONGEST_WORD or self._comparisons < 0:
            return None
        return next(iter(difflib.get_close_matches(word, candidates, n=1)), None) or next(
            (option for option in candidates if option.lower() == word.lower()), None
        )

    def did_you_mean(self, word: object, options: Iterable[str]) -> str | None:
        found = self.nearest(word, options)
        return f"did you mean {found!r}?" if found is not None else None

    def _locate(self, path: Path, key: bool) -> tuple[str | None, int]:
        node, file, place = self.root, self.file, 0
        for depth, step in enumerate(path):
            marks = self.marks(node)
            if marks is None or step not in marks.values:
                break
            table = marks.keys if key and depth == len(path) - 1 and step in marks.keys else marks.values
            file, place, node = marks.file, table[step], marks.container[step]
            inner = self.marks(node)
            if inner is not None and inner.file != file:  # imported: its own file says more
                file, place = inner.file, inner.start
        return file, place

    def _indices(self, path: Path) -> tuple[int, ...]:
        """The path by position instead of by name: sorts in document order."""
        found: list[int] = []
        node = self.root
        for step in path:
            try:
                found.append(step if isinstance(step, int) else list(node).index(step))
                node = node[step]
            except (LookupError, TypeError, ValueError):
                break
        return tuple(found)


def spell(path: Path) -> str:
    """A path as people write it: ``nodes[2].scaling.min``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif isinstance(step, str) and step.isprintable() and _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{quote(step)}]"
    return text


def quote(word: object, longest: int = 60) -> str:
    """A word of the user's in quotes, cut when long, harmless on a terminal."""
    text = repr(word)
    return text if len(text) <= longest else f"{text[: longest - 4]}...{text[-1]}"


def kind(value: object) -> str:
    """What a value is, without saying it: it may be a secret."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"a Python {type(value).__name__}"
