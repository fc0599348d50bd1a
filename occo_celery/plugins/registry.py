"""Finds plugins: entry points of the groups below; only the one that is named is imported.

Called by wiring (objects) and handed to the compiler as ``schema_for`` (checking a definition at import).
"""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any

import pydantic

from occo_celery import errors

#: Section of an implementation -> entry point group of its plugins.
GROUPS = {
    "resource": "occo_celery.resourcehandler",
    "config_management": "occo_celery.configmanager",
    "contextualisation": "occo_celery.contextualisation",
    "health_check": "occo_celery.healthcheck",
}


@functools.cache
def _entry_points(kind: str) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUPS[kind])}


def names(kind: str) -> tuple[str, ...]:
    """The names of all plugins of a kind (a key of GROUPS), sorted."""
    return tuple(sorted(_entry_points(kind)))


@functools.cache
def load(kind: str, name: str) -> Any:
    """The class of a plugin. Raises PluginError."""
    point = _entry_points(kind).get(name)
    if point is None:
        raise errors.PluginError(f"no {kind} plugin is called {name!r}; there are: {', '.join(names(kind))}")
    try:
        return point.load()
    except ImportError as problem:
        raise errors.PluginError(
            f"the {kind} plugin {name!r} needs {problem.name or problem}: "
            f"install it with `pip install 'occo-celery[{name}]'`"
        ) from problem


@functools.cache
def schema_for(kind: str, name: str | None = None) -> type[pydantic.BaseModel]:
    """The pydantic model of a section. ``health_check`` has no type: its keys are the plugins. Raises PluginError."""
    if kind == "health_check":
        fields: dict[str, Any] = {key: (load(kind, key).value, load(kind, key).default) for key in names(kind)}
        config = pydantic.ConfigDict(extra="forbid", strict=True)
        return pydantic.create_model("HealthCheckSection", __config__=config, timeout=(float, 600.0), **fields)
    assert name is not None
    schema: type[pydantic.BaseModel] = load(kind, name).schema
    return schema
