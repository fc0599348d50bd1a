"""occo_celery: infrastructures on many clouds, kept by Celery workers, with the truth in SQL.

The names of the Python API are loaded when they are first used (PEP 562), so that importing a pure part,
such as the planner, loads neither Celery nor SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from occo_celery.api.manager import InfrastructureMaintenanceProcess, InfrastructureManager
    from occo_celery.api.occoapp import setup

VERSION = "0.1.0"

__all__ = ["VERSION", "InfrastructureMaintenanceProcess", "InfrastructureManager", "setup"]

_HOMES = {
    "InfrastructureManager": "occo_celery.api.manager",
    "InfrastructureMaintenanceProcess": "occo_celery.api.manager",
    "setup": "occo_celery.api.occoapp",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
