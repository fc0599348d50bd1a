"""Cloud-configs by the schema of the cloud-init that is installed here."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.api import importing
from occo_celery.encryption import Encryption
from occo_celery.plugins.contextualisation import cloud_schema, cloudinit
from tests.acceptance.installation import EXAMPLES

pytestmark = pytest.mark.system

PLUGIN = cloudinit.CloudinitContextualisation()
NAMES = {"type": "web", "name": "web-1", "secret": lambda name: "hunter2"}


def render(template: Any) -> str:
    cloudinit._warn.cache_clear()
    told = PLUGIN.render({"type": "cloudinit", "context_template": template}, NAMES).user_data
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"packages": 5}, "packages must be a list, it is a whole number"),
        ("#cloud-config\nruncmd: {{ secret('x') }}\n", "runcmd must be a list, it is a text"),
        ({"write_files": {"path": "/a"}}, "write_files must be a list, it is a mapping"),
        ({"power_state": "reboot"}, "power_state must be a mapping, it is a text"),
    ],
)
def test_what_no_version_can_take_is_refused(template: Any, expected: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        render(template)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"runcmdd": []}, "the key runcmdd is not known; did you mean runcmd?"),
        ({"runcmd": [{"echo a": "{{ secret('x') }}"}]}, "runcmd[0] must be a list or a text or nothing, it is a map"),
        ({"users": [{"name": "a", "sudoo": "{{ secret('x') }}"}]}, "not known: sudoo; did you mean sudo?"),
        ({"write_files": [{"content": "{{ secret('x') }}"}]}, "write_files[0] lacks the key path"),
        ({"package_update": "yes"}, "package_update must be true or false, it is a text"),
        (
            {"packages": [{"apt": ["nginx"]}]},
            "packages[0] must be a list or a text, it is a mapping",
        ),  # in newer ones
    ],
)
def test_what_another_version_may_take_is_logged(
    template: Any, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        render(template)
    assert expected in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("name", ["shop", "workers", "pipeline"])
def test_the_schema_has_nothing_against_the_examples(name: str) -> None:
    schema = cloud_schema.installed()
    assert schema is not None
    for implementations in importing.load(EXAMPLES / name / "machine.yaml", Encryption(())).definitions.values():
        for one in implementations:
            template = one["contextualisation"]["context_template"]
            assert schema.check(template, str(template)) == []
