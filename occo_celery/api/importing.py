"""Reads a file of node definitions with all that the plugins know of their sections. Called by manager.py."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from occo_celery.compiler import definitions
from occo_celery.encryption import Encryption
from occo_celery.plugins import registry
from occo_celery.plugins.contextualisation import templates


def load(path: pathlib.Path, encryption: Encryption) -> definitions.Loaded:
    """The node definitions of a file, checked; raises SchemaError. encryption: of secrets that are written out."""
    return definitions.load_definitions(
        path,
        schema_for=registry.schema_for,
        check_templates=_check_templates,
        encrypt=encryption.encrypt if encryption.usable else None,
    )


def _check_templates(kind: str, name: str | None, section: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Every template of a section that does not parse: (path in the section, why)."""
    found: Mapping[str, str]
    if kind == "contextualisation" and name is not None:
        found = registry.load(kind, name)().templates(section)
    elif kind == "health_check":
        found = {
            f"{key}{path}": text
            for key, value in section.items()
            if key != "timeout"
            for path, text in registry.load(kind, key)().templates(value).items()
        }
    else:
        found = dict(templates.strings(section))
    return [(path, problem) for path, text in found.items() if (problem := templates.check(text)) is not None]
