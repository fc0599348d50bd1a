"""Reads a text or file of untrusted YAML, within bounds: its data, where each part stands, all complaints at once.

Called by compile.py (descriptions) and definitions.py (node definitions, which may import other files from disk).
"""

from __future__ import annotations

import pathlib
import re
import urllib.parse
from typing import Any, NoReturn

import yaml

from occo_celery import errors
from occo_celery.compiler import builder, places

MAX_BYTES = 4 * 1024 * 1024
MAX_IMPORT_DEPTH = 8
MAX_IMPORTS = 200

# `%TAG` lines take libyaml quadratic time and nobody needs them. These are all the line breaks that it knows.
_DIRECTIVE = re.compile("(?:^|(?<=[\n\r\x85\u2028\u2029]))%")
_SCHEME = "file://"


class _Unreadable(Exception):
    """A file that cannot be read; its text says why."""


def read_text(text: str) -> places.Report:
    """The report of a posted text; its ``root`` is what was read. Imports are refused.

    Raises SchemaError only when nothing more can be read; other problems wait in the report.
    """
    return _read(text, file=None, importer=None)


def read_file(path: pathlib.Path, *, imports: bool = False, named: str | None = None) -> places.Report:
    """As read_text, of a file. Raises SchemaError, also when the file cannot be read.

    imports: whether `!yaml_import` and `!text_import` may read other files. named: why this was taken for a path.
    """
    try:
        text = _load(path, MAX_BYTES)
    except _Unreadable as problem:
        raise errors.SchemaError([errors.Problem(message=str(problem), file=str(path), hint=named)]) from None
    return _read(text, file=str(path), importer=_Imports((path,)) if imports else None)


def _read(text: str, *, file: str | None, importer: _Imports | None) -> places.Report:
    if not yaml.__with_libyaml__:
        raise errors.ConfigurationError(
            "PyYAML is installed without libyaml, which is needed to read untrusted text safely: "
            "install a PyYAML wheel (pip install --force-reinstall --only-binary :all: PyYAML)"
        )
    report = places.Report(file=file, located=True)
    budget = builder.Budget()
    if importer is not None:
        importer.bind(report, budget)
    try:
        report.root = _build(text, report, budget, file=file, prefix=(), importer=importer)
    except builder.Stop:
        report.check()
    return report


def _build(
    text: str,
    report: places.Report,
    budget: builder.Budget,
    *,
    file: str | None,
    prefix: places.Path,
    importer: builder.Importer | None,
) -> Any:
    """The root of one text. Raises builder.Stop."""
    text = text.removeprefix("\ufeff")
    try:
        size = len(text.encode()) if len(text) <= MAX_BYTES else len(text)
    except UnicodeEncodeError as problem:
        _stop(report, prefix, "half a character (a lone surrogate)", file, _place(text, problem.start))
    if size > MAX_BYTES:
        _stop(report, prefix, f"{size:,} bytes, at most {MAX_BYTES:,} are read", file, 0)
    if found := _DIRECTIVE.search(text):
        message = "a line that begins with % (a YAML directive) is not read"
        _stop(report, prefix, message, file, _place(text, found.start()), hint="leave it out, or indent it")
    return builder.Builder(text, report, budget, file=file, prefix=prefix, importer=importer).build()


def _stop(
    report: places.Report, path: places.Path, message: str, file: str | None, place: int, *, hint: str | None = None
) -> NoReturn:
    report.add_at(path, message, file, place, hint=hint)
    raise builder.Stop


def _place(text: str, index: int) -> int:
    before = text[:index]
    return places.pack(before.count("\n"), index - (before.rfind("\n") + 1))


def _load(path: pathlib.Path, longest: int) -> str:
    """The text of a regular file of at most so many bytes. Raises _Unreadable."""
    try:
        if not path.is_file():  # a pipe or device may never end
            raise _Unreadable("not a regular file" if path.exists() else "no such file")
        with path.open("rb") as file:
            content = file.read(longest + 1)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise _Unreadable(f"cannot be read: {getattr(problem, 'strerror', None) or problem}") from problem
    if len(content) > longest:
        raise _Unreadable(f"larger than {longest:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _Unreadable(f"not UTF-8 text (byte {problem.start + 1})") from problem


class _Imports:
    """Makes the values of `!yaml_import` and `!text_import`. chain: the files being read, outermost first."""

    def __init__(self, chain: tuple[pathlib.Path, ...], parent: _Imports | None = None) -> None:
        self._chain = chain
        self._total: list[None] = parent._total if parent else []
        if parent is not None:
            self.bind(parent._report, parent._budget)

    def bind(self, report: places.Report, budget: builder.Budget) -> None:
        self._report, self._budget = report, budget

    def __call__(self, tag: str, mapping: Any, path: places.Path, place: int) -> Any:
        """Raises builder.Unknown."""
        target = self._target(tag, mapping, path, place)
        self._total.append(None)
        if len(self._total) > MAX_IMPORTS:
            self._refuse(path, place, f"more than {MAX_IMPORTS} imports")
        try:
            text = _load(target, builder.MAX_SCALAR if tag == "!text_import" else MAX_BYTES)
        except _Unreadable as problem:
            self._refuse(path, place, f"{target}: {problem}")
        if tag == "!text_import":
            return text
        self._check_chain(target, path, place)
        inner = _Imports((*self._chain, target), self)
        try:
            return _build(text, self._report, self._budget, file=str(target), prefix=path, importer=inner)
        except builder.Stop:
            raise builder.Unknown from None

    def _target(self, tag: str, mapping: Any, path: places.Path, place: int) -> pathlib.Path:
        url = mapping.get("url")
        if set(mapping) != {"url"} or not isinstance(url, str):
            self._refuse(path, place, f"{tag} takes one key, url", hint=f"write {tag} {{url: file://path}}")
        if not url.startswith(_SCHEME) or len(url) == len(_SCHEME):
            self._refuse(path, place, f"{places.quote(url)} is not a file:// URL", hint="only files can be imported")
        # file://name.yaml is relative to the importing file, as in Occopus, though no URL standard says so
        return self._chain[-1].parent / urllib.parse.unquote(url.removeprefix(_SCHEME))

    def _check_chain(self, target: pathlib.Path, path: places.Path, place: int) -> None:
        resolved = [one.resolve() for one in self._chain]
        if target.resolve() in resolved:
            ring = (*self._chain[resolved.index(target.resolve()) :], target)
            self._refuse(path, place, "files import each other: " + " -> ".join(str(one) for one in ring))
        if len(self._chain) > MAX_IMPORT_DEPTH:
            self._refuse(path, place, f"imports are nested more than {MAX_IMPORT_DEPTH} files deep")

    def _refuse(self, path: places.Path, place: int, message: str, *, hint: str | None = None) -> NoReturn:
        self._report.add_at(path, message, str(self._chain[-1]), place, hint=hint)
        raise builder.Unknown
