"""Contextualisation by cloud-init: the instance is given a user-data text.

What cloud-init reads of a ``#cloud-config`` is YAML as PyYAML reads it; a text that does not parse would leave the
instance up and unconfigured, so it is refused here. Where cloud-init is installed on this host, its schema is asked,
too (cloud_schema.py): what no version takes is refused, the rest of what it says is logged, for an instance may have
a newer one. Scripts and other formats of cloud-init's are passed on as they are.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic
import yaml

from occo_celery import errors
from occo_celery.plugins.contextualisation import base, basic, cloud_schema, multipart, templates

log = logging.getLogger(__name__)

#: The first line by which cloud-init knows the format.
HEADER = "#cloud-config"
#: Characters of a cloud-config.
MAX_LENGTH = 1024 * 1024
#: Lists and mappings in one another.
MAX_DEPTH = 100


class Section(pydantic.BaseModel):
    """``contextualisation`` of type cloudinit.

    context_template: a text in any format of cloud-init's; a mapping, which becomes cloud-config text; or a list of
    such parts, which become one MIME message.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["cloudinit"]
    context_template: str | dict[str, Any] | Annotated[list[str | dict[str, Any]], pydantic.Field(min_length=1)]
    attributes: dict[str, Any] = {}


class CloudinitContextualisation(base.Contextualisation):
    """Renders the user data and the attributes."""

    schema = Section

    def __init__(self, schemas: Sequence[str] = cloud_schema.FILES) -> None:
        """schemas: patterns of the files that cloud-init's schema may be in."""
        self._schemas = tuple(schemas)

    def render(self, section: Mapping[str, Any], names: Mapping[str, Any]) -> base.Context:
        """User data and attributes, rendered. Raises TemplateError."""
        where = f"{basic.where(names)}.context_template"
        template = section["context_template"]
        rendered = templates.render_tree(template, names, where)
        if isinstance(rendered, list):
            places = [f"{where}[{number}]" for number in range(len(rendered))]
            texts = list(map(self._text, rendered, template, places))
            user_data = multipart.joined(list(zip(map(multipart.type_of, texts, places), texts, strict=True)))
        else:
            user_data = self._text(rendered, template, where)
        return base.Context(user_data=user_data, attributes=basic.attributes(section, names))

    def _text(self, rendered: str | dict[str, Any], template: object, where: str) -> str:
        """The text of a part, checked if it is a cloud-config."""
        text = rendered if isinstance(rendered, str) else _dumped(rendered)
        if text.startswith(HEADER) and not text.startswith(f"{HEADER}-"):  # -archive is another format
            config = _parsed(text, where)
            schema = cloud_schema.installed(self._schemas)
            _judge(schema.check(config, str(template)) if schema is not None else (), where)
        return text

    def templates(self, section: Mapping[str, Any]) -> Mapping[str, str]:
        """All texts of the section."""
        return dict(templates.strings(section))


def _judge(findings: Sequence[cloud_schema.Finding], where: str) -> None:
    refused = [one.text for one in findings if one.refused]
    if refused:
        raise errors.TemplateError(
            f"{where}: cloud-init cannot use the rendered {HEADER}, says the schema of the one on this host: "
            + "; ".join(refused)
        )
    for one in findings:
        _warn(f"{where}: the schema of the cloud-init on this host says: {one.text}; it is used as it is")


@functools.lru_cache(maxsize=1024)
def _warn(message: str) -> None:
    """Once a process, not once an instance."""
    log.warning("%s", message)


def _dumped(config: Mapping[str, Any]) -> str:
    return f"{HEADER}\n" + yaml.dump(config, Dumper=_Dumper, sort_keys=False)


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


def _parsed(text: str, where: str) -> dict[Any, Any]:
    """Raises TemplateError with the line of the rendered text, but nothing of the text: it may hold secrets."""
    if len(text) > MAX_LENGTH:
        raise errors.TemplateError(f"{where}: a cloud-config has at most {MAX_LENGTH} characters, not {len(text)}")
    try:
        parsed = yaml.load(text, Loader=_Loader)  # noqa: S506 a safe loader
    except yaml.YAMLError as found:
        problem = _explain(found)
    except ValueError:  # only looks like one
        problem = "it has an impossible date or number"
    else:
        if isinstance(parsed, dict):
            return parsed
        problem = "it is not a mapping"
    # outside the handler: the cause quotes the text
    raise errors.TemplateError(f"{where}: the rendered {HEADER} is not YAML that cloud-init can use: {problem}")


def _explain(found: yaml.YAMLError) -> str:
    mark = getattr(found, "problem_mark", None) or getattr(found, "context_mark", None)
    what = found.problem if isinstance(found, _Refused) else "cannot be parsed"
    return f"line {mark.line + 1}, column {mark.column + 1} of it {what}" if mark is not None else what
