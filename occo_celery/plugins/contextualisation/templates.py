"""Templates: checks and renders texts and whole sections; every trouble is a TemplateError that says where.

Called by the contextualisation plugins, the URL check and infraprocessor/resolve.py; strings() and check() by the
import of definitions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import jinja2

from occo_celery import errors
from occo_celery.model import reference
from occo_celery.plugins.contextualisation import sandbox

#: Characters of a template.
MAX_LENGTH = 256 * 1024

#: Under this names hold the function that opens an encrypted value. No template can say it, so that only what the
#: import of definitions has encrypted is opened, where it stands.
DECRYPT = "{encrypted}"

_ENVIRONMENT = sandbox.Sandbox()
_MARKS = ("{{", "{%", "{#")


def check(text: str) -> str | None:
    """Why a template cannot be used, with its line; None when it can."""
    if not _is_template(text):
        return None
    try:
        _compiled(text)
    except errors.TemplateError as problem:
        return str(problem)
    return None


def strings(section: Any) -> Iterator[tuple[str, str]]:
    """All strings of a nested section with their paths, e.g. ``("env[0].value", "{{ name }}")``."""
    yield from _strings(section, "")


def render(text: str, names: Mapping[str, Any], where: str) -> str:
    """A rendered template. where: what it is, for errors, e.g. ``node_def:web resource.command``.

    Raises TemplateError, never with the value of a secret in it; what else fetching a secret raises goes through.
    """
    if not _is_template(text):
        return text
    fetched = _Fetched(names.get("secret"))
    known = {**names, "secret": fetched} if "secret" in names else names
    try:
        template = _compiled(text)
        with sandbox.budget():
            return template.environment.concat(template.root_render_func(template.new_context(known)))  # type: ignore
    except errors.TransientError:
        raise
    except Exception as problem:  # noqa: BLE001 whatever a template makes Python raise is the template's fault
        line = _line(template, problem.__traceback__) if not isinstance(problem, _NotATemplate) else None
        message = _explain(problem, text, fetched.used)
    # outside the handler: the cause may hold the value of a secret, so it is not chained
    raise errors.TemplateError(f"{where}{'' if line is None else f', line {line}'}: {message}")


def render_tree(value: Any, names: Mapping[str, Any], where: str) -> Any:
    """A copy of a nested section with all its strings rendered (keys are not), ``{secret: name}`` fetched and
    ``{encrypted: token}`` decrypted.

    Raises TemplateError.
    """
    if isinstance(value, str):
        return render(value, names, where)
    if isinstance(value, Mapping):
        if (name := reference.secret(value)) is not None:
            return _fetch("secret", name, names, where)
        if (token := reference.encrypted(value)) is not None:
            return _fetch(DECRYPT, token, names, where)
        return {key: render_tree(one, names, _below(where, key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [render_tree(one, names, f"{where}[{index}]") for index, one in enumerate(value)]
    return value


def told(value: Any) -> str:
    """A text of a section as messages show it: not rendered, a secret by its name."""
    if isinstance(value, str):
        return value
    name = reference.secret(value)
    return "a secret" if name is None else f"{{secret: {name}}}"


def undefined(why: str) -> object:
    """A value that is not known: a template that uses it fails, and says why."""
    return _ENVIRONMENT.undefined(hint=why)


def _below(where: str, key: object) -> str:
    # "node_def:web resource" names a section: its keys read "node_def:web resource.command"
    return f"{where}.{key}" if where else str(key)


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        if reference.secret(value) is None and reference.encrypted(value) is None:
            for key, one in value.items():
                yield from _strings(one, _below(path, key))
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _strings(one, f"{path}[{index}]")


def _is_template(text: str) -> bool:
    return any(mark in text for mark in _MARKS)


def _fetch(how: str, what: str, names: Mapping[str, Any], where: str) -> str:
    """how: the name of the function that gives a value for this."""
    if how not in names:
        raise errors.TemplateError(f"{where}: there are no secrets here")
    try:
        return str(names[how](what))
    except errors.TransientError:
        raise
    except errors.OccoError as problem:
        raise errors.TemplateError(f"{where}: {problem}") from problem


class _Fetched:
    """The function ``secret`` of one rendering; knows whether a value is about."""

    def __init__(self, secret: Callable[[str], str] | None) -> None:
        self._secret, self.used = secret, False

    def __call__(self, name: str) -> str:
        assert self._secret is not None
        value = self._secret(name)
        self.used = True
        return value


class _NotATemplate(errors.TemplateError):
    """The text does not compile; the message has the line."""


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> jinja2.Template:
    if len(text) > MAX_LENGTH:
        raise _NotATemplate(f"a template has at most {MAX_LENGTH} characters, this has {len(text)}")
    try:
        return _ENVIRONMENT.from_string(text)
    except jinja2.TemplateSyntaxError as problem:
        raise _NotATemplate(f"line {problem.lineno}: {problem.message}") from problem
    except (RecursionError, MemoryError, SyntaxError, ValueError) as problem:
        raise _NotATemplate("the template is nested too deeply, or is not one") from problem


def _line(template: jinja2.Template, trace: TracebackType | None) -> int | None:
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return found


def _explain(problem: Exception, text: str, secret: bool) -> str:
    """What went wrong. secret: a secret was fetched, so that only words that the template has itself are told."""
    match problem:
        case jinja2.exceptions.SecurityError() | jinja2.UndefinedError() | errors.OccoError():
            message = str(problem)
        case RecursionError():
            message = "it calls itself too deeply"
        case _:
            message = f"{type(problem).__name__}: {problem}"
    if not secret or isinstance(problem, _NotATemplate):
        return message
    name = re.fullmatch(r"'(\w+)' is undefined", message)
    if name is not None and re.search(rf"\b{name[1]}\b", text):
        return message
    return f"{type(problem).__name__} (no details: the template uses a secret)"
