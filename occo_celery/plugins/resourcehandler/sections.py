"""What sections and credentials of all resource handlers have in common. Called by the handlers and their schemas."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import pydantic

from occo_celery import errors

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
