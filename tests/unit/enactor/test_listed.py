"""Of which instances the cloud's list says all there is to know."""

from __future__ import annotations

from collections.abc import Collection
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
    kinds = observer.kinds({"one"}, lambda _: {"one": {"resource": {"type": "x"}, **implementation}})
    assert kinds["one"].listed is listed


def test_what_is_known_is_not_read_again_and_what_is_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("occo_celery.enactor.observe.KINDS", 2)
    observer = Observer(Clouds({}, lambda _: {}), lambda _: None, {}, deadline=1.0, health_limit=1.0)  # type: ignore[arg-type,return-value]
    asked: list[str] = []

    def read(wanted: Collection[str]) -> dict[str, dict[str, Any]]:
        asked.extend(wanted)
        return {one: {"resource": {"type": one}} for one in wanted if one != "gone"}

    for wanted in ({"a"}, {"a", "b"}, {"b", "c"}, {"c", "gone"}):
        assert observer.kinds(wanted, read).keys() >= wanted - {"gone"}
    assert asked == ["a", "b", "c", "gone"]
