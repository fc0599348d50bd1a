"""Of which instances the cloud's list says all there is to know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from occo_celery.enactor.observe import Observer
from occo_celery.plugins import registry
from occo_celery.plugins.resourcehandler.clouds import Clouds

UNCHECKED = {"ping": False}


@pytest.mark.parametrize(
    ("implementation", "listed"),
    [
        ({"health_check": UNCHECKED}, True),
        ({"health_check": UNCHECKED, "config_management": {"type": "dummy"}}, True),
        ({"health_check": {**UNCHECKED, "ports": []}}, True),
        ({}, False),  # it is pinged unless that is turned off
        ({"health_check": {**UNCHECKED, "ports": [80]}}, False),
        ({"health_check": {**UNCHECKED, "urls": ["http://{{ip}}"]}}, False),
        ({"health_check": UNCHECKED, "config_management": {"type": "chef"}}, False),
    ],
    ids=str,
)
def test_listed(implementation: dict[str, Any], listed: bool) -> None:
    checks = {name: registry.load("health_check", name)() for name in registry.names("health_check")}
    observer = Observer(Clouds({}, lambda _: {}), lambda _: None, checks, deadline=1.0, health_limit=1.0)  # type: ignore[arg-type,return-value]
    assert observer.is_listed(json.dumps({"resource": {"type": "x"}, **implementation})) is listed
