"""Contextualisation by cloud-init: the instance is given a user-data text.

What cloud-init reads of a ``#cloud-config`` is YAML as PyYAML reads it; a text that does not parse would leave the
instance up and unconfigured, so it is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic
import yaml

from occo_celery import errors
from occo_celery.plugins.contextualisation import base, basic, templates

#: The first line by which cloud-init knows the format.
HEADER = "#cloud-config"
#: Characters of a cloud-config.
MAX_LENGTH = 1024 * 1024
#: Lists and mappings in one another.
MAX_DEPTH = 100


class Section(pydantic.BaseModel):
    """``contextualisation`` of type cloudinit; a mapping as context_template becomes cloud-config text."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["cloudinit"]
    context_template: str | dict[str, Any]
    attributes: dict[str, Any] = {}


class CloudinitContextualisation(base.Contextualisation):
    """Renders the user data and the attributes."""

    schema = Section

    def render(self, section: Mapping[str, Any], names: Mapping[str, Any]) -> base.Context:
        """User data and attributes, rendered. Raises TemplateError."""
        where = f"{basic.where(names)}.context_template"
        rendered = templates.render_tree(section["context_template"], names, where)
        if isinstance(rendered, dict):
            rendered = f"{HEADER}\n" + yaml.dump(rendered, Dumper=_Dumper, sort_keys=False)
        if rendered.startswith(HEADER) and not rendered.startswith(f"{HEADER}-"):  # -archive is another format
            _check(rendered, where)
        return base.Context(user_data=rendered, attributes=basic.attributes(section, names))

    def templates(self, section: Mapping[str, Any]) -> Mapping[str, str]:
        """All texts of the section."""
        return dict(templates.strings(section))


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice, twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Refused(yaml.YAMLError):
    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        self.problem, self.problem_mark = problem, mark


class _Loader(yaml.SafeLoader):
    """Refuses aliases, by which a short text can become a huge document, and depth, which takes PyYAML long."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Refused("an alias (*name) is not allowed", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Refused("is nested too deeply", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _check(text: str, where: str) -> None:
    """Raises TemplateError with the line of the rendered text, but nothing of the text: it may hold secrets."""
    if len(text) > MAX_LENGTH:
        raise errors.TemplateError(f"{where}: a cloud-config has at most {MAX_LENGTH} characters, not {len(text)}")
    problem = ""
    try:
        parsed = yaml.load(text, Loader=_Loader)  # noqa: S506 a safe loader
    except yaml.YAMLError as found:
        problem = _explain(found)
    except ValueError:  # only looks like one
        problem = "it has an impossible date or number"
    else:
        if not isinstance(parsed, dict):
            problem = "it is not a mapping"
    if problem:  # outside the handler: the cause quotes the text
        raise errors.TemplateError(f"{where}: the rendered {HEADER} is not YAML that cloud-init can use: {problem}")


def _explain(found: yaml.YAMLError) -> str:
    mark = getattr(found, "problem_mark", None) or getattr(found, "context_mark", None)
    what = found.problem if isinstance(found, _Refused) else "cannot be parsed"
    return f"line {mark.line + 1}, column {mark.column + 1} of it {what}" if mark is not None else what
