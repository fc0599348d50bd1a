"""What every config manager keeps: strict sections, calls that may be repeated, forgetting what is unknown."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from occo_celery.model import status
from occo_celery.plugins import registry
from occo_celery.plugins.configmanager import base

#: A right section of each config manager that needs nothing but itself.
SECTIONS: dict[str, dict[str, Any]] = {"dummy": {"type": "dummy"}}
TIMEOUT = 5.0


@pytest.fixture(params=SECTIONS)
def manager(request: pytest.FixtureRequest) -> base.ConfigManager:
    section = SECTIONS[request.param]
    made: base.ConfigManager = registry.load("config_management", request.param)(section, {}, {})
    return made


@pytest.mark.parametrize("name", SECTIONS)
def test_the_schema_takes_its_section_and_nothing_beside(name: str) -> None:
    schema = registry.schema_for("config_management", name)
    schema.model_validate(SECTIONS[name])
    for wrong in ({**SECTIONS[name], "no_such_key": 1}, {**SECTIONS[name], "type": "other"}, {}):
        with pytest.raises(pydantic.ValidationError):
            schema.model_validate(wrong)


def test_a_life_with_everything_said_twice(manager: base.ConfigManager) -> None:
    for _ in range(2):
        manager.register("infra", "node", TIMEOUT)
    for _ in range(2):
        found = manager.observe("infra", "node", ("127.0.0.1",), TIMEOUT)
        assert found.status in (status.NodeStatus.READY, status.NodeStatus.PENDING)
    for _ in range(2):
        manager.drop("infra", "node", TIMEOUT)
    for _ in range(2):
        manager.drop_infrastructure("infra", TIMEOUT)


def test_forgetting_what_is_unknown_succeeds(manager: base.ConfigManager) -> None:
    manager.drop("no-such-infra", "no-such-node", TIMEOUT)
    manager.drop_infrastructure("no-such-infra", TIMEOUT)


def test_dummy_finds_every_node_ready() -> None:
    dummy = registry.load("config_management", "dummy")({"type": "dummy"}, {}, {})
    assert dummy.observe("infra", "node", (), TIMEOUT).status is status.NodeStatus.READY
