"""What sections and credentials of all resource handlers have in common. Called by the handlers and their schemas."""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import jinja2
import jinja2.meta
import pydantic

from occo_celery import errors
from occo_celery.plugins.contextualisation import sandbox

Model = TypeVar("Model", bound=pydantic.BaseModel)


#: Of keys that choose the account, before anything is rendered or fetched: the import of definitions refuses
#: templates and references there, and auth_data may go by these keys (beside ``type``).
Fixed = Annotated[str, pydantic.Field(json_schema_extra={"fixed": True})]


def split(url: str) -> urllib.parse.SplitResult:
    """The parts of a URL; all empty if it is none."""
    try:
        return urllib.parse.urlsplit(url)
    except ValueError:
        return urllib.parse.SplitResult("", "", "", "", "")


def web_url(text: str, example: str) -> str:
    """An http or https URL without what would be a secret, seen wherever the account is named. Raises ValueError."""
    url = split(text)
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.query or url.fragment:
        raise ValueError(f"it must be a URL like {example}, without user and password")
    return text


def public(instead: str, **told: Any) -> Any:
    """A field that others can read. instead: what to do with a secret. The import of definitions refuses references
    there, and no_secrets templates."""
    return pydantic.Field(json_schema_extra={"public": instead}, **told)


def no_secrets(section: pydantic.BaseModel) -> None:
    """Raises ValueError where a template of a public field uses ``secret``. For the validator of a whole section:
    what those of fields say of templates is not told at import."""
    for key, info in type(section).model_fields.items():
        extra = info.json_schema_extra
        instead = extra.get("public") if isinstance(extra, dict) else None
        if instead and any(_uses_secret(text) for text in _texts(getattr(section, key))):
            raise ValueError(f"`{key}` must not hold a secret: {instead}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _uses_secret(text: str) -> bool:
    if "secret" not in text:
        return False
    try:
        return "secret" in jinja2.meta.find_undeclared_variables(_environment().parse(text))
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError):
        return False  # others complain of what is no template


@functools.cache
def _environment() -> sandbox.Sandbox:
    return sandbox.Sandbox()


def account(*parts: str | None) -> str:
    """The name of an account, of the parts that there are."""
    return ":".join(part for part in parts if part)


def valid(model: type[Model], data: Mapping[str, Any], refusal: str) -> Model:
    """The data as the model reads them; rendering may have broken them. Raises PermanentError, without values: they
    may be secrets. refusal: what the message begins with."""
    try:
        return model.model_validate(dict(data))
    except pydantic.ValidationError as problem:
        found = problem.errors(include_input=False, include_url=False)
        wrong = (": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"]])) for each in found)
        raise errors.PermanentError(f"{refusal}: {'; '.join(wrong)}") from None
