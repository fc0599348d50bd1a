"""Contextualisation of containers: environment variables and the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from occo_celery import errors
from occo_celery.plugins.contextualisation import base, basic, templates

#: A value, or the name of a secret, which is fetched when an instance is made.
Value = str | int | float | bool | dict[Literal["secret"], str]


class Section(pydantic.BaseModel):
    """``contextualisation`` of type docker.

    env: ``NAME=value`` each, as Occopus has it, or a mapping. command: a list, or one text that is split as a shell
    would split it (no shell sees it); without it the image's own command runs.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["docker"]
    env: list[str] | dict[str, Value] = []
    command: list[str | dict[Literal["secret"], str]] | str | None = None
    attributes: dict[str, Any] = {}

    @pydantic.field_validator("env")
    @classmethod
    def _has_names(cls, env: list[str] | dict[str, Value]) -> list[str] | dict[str, Value]:
        for number, each in enumerate(env):
            name, equals, _ = (each, "=", "") if isinstance(env, dict) else each.partition("=")
            if not equals or not _is_name(name):
                raise ValueError(f"entry {number + 1} must be NAME=value, with a name without blanks and `=`")
        return env


class DockerContextualisation(base.Contextualisation):
    """Renders environment, command and attributes."""

    schema = Section

    def render(self, section: Mapping[str, Any], names: Mapping[str, Any]) -> base.Context:
        """Environment, command and attributes, rendered. Raises TemplateError."""
        where = basic.where(names)
        env = templates.render_tree(section.get("env") or {}, names, f"{where}.env")
        return base.Context(
            environment=_environment(env, where),
            command=templates.render_tree(section.get("command"), names, f"{where}.command"),
            attributes=basic.attributes(section, names),
        )

    def templates(self, section: Mapping[str, Any]) -> Mapping[str, str]:
        """All texts of the section."""
        return dict(templates.strings(section))


def _environment(env: Mapping[str, Any] | list[str], where: str) -> dict[str, str]:
    pairs = env.items() if isinstance(env, Mapping) else [each.partition("=")[::2] for each in env]
    found = {str(name): _text(value) for name, value in pairs}
    for name, value in found.items():
        if not _is_name(name) or "\0" in value:
            raise errors.TemplateError(
                f"{where}.env: {name!r} cannot be a variable, or its value has a null character"
            )
    return found


def _text(value: object) -> str:
    """As YAML writes it: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_name(name: str) -> bool:
    return bool(name) and not any(character in "=\0" or character.isspace() for character in name)
