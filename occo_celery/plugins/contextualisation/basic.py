"""Contextualisation by attributes alone: no text is given to the instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from occo_celery.plugins.contextualisation import base, templates


class Section(pydantic.BaseModel):
    """``contextualisation`` of type basic."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["basic"]
    attributes: dict[str, Any] = {}


class BasicContextualisation(base.Contextualisation):
    """Renders the attributes."""

    schema = Section

    def render(self, section: Mapping[str, Any], names: Mapping[str, Any]) -> base.Context:
        """The attributes, rendered. Raises TemplateError."""
        return base.Context(attributes=attributes(section, names))

    def templates(self, section: Mapping[str, Any]) -> Mapping[str, str]:
        """All texts of the section."""
        return dict(templates.strings(section))


def where(names: Mapping[str, Any]) -> str:
    """What a contextualisation section is called in errors."""
    return f"node_def:{names['type']} contextualisation" if "type" in names else "contextualisation"


def attributes(section: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The rendered ``attributes`` of a section. Raises TemplateError."""
    rendered: dict[str, Any] = templates.render_tree(
        section.get("attributes") or {}, names, f"{where(names)}.attributes"
    )
    return rendered
