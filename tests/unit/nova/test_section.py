"""The keys of a section, credentials, the names of accounts."""

from __future__ import annotations

from typing import Any

import pytest

from occo_celery import errors
from occo_celery.plugins import registry
from occo_celery.plugins.resourcehandler import nova, nova_section

SECTION = {
    "type": "nova",
    "endpoint": "https://cloud.example.org:5000/v3",
    "project_id": "a678d20e71cb4b9f812a31e5f3eb63b0",
    "image_id": "d4f4e496-031a-4f49-b034-f8dafe28e01c",
    "flavor_name": "m1.small",
}


def test_the_registry_knows_it() -> None:
    assert registry.load("resource", "nova") is nova.NovaHandler


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"endpoint": "cloud.example.org:5000/v3"}, "endpoint"),
        ({"endpoint": "https://me:hunter2@cloud.example.org/v3"}, "without user and password"),
        ({"endpoint": "https://cloud.example.org/v3?token=hunter2"}, "without user and password"),
        ({"project_id": ""}, "project_id"),
        ({"security_groups": "default"}, "security_groups"),
        ({"volume_size": 0}, "volume_size"),
        ({"volume_size": "many"}, "volume_size"),
        ({"flavour": "m1.small"}, "flavour"),
    ],
)
def test_what_a_section_must_not_say(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.PermanentError, match=message) as caught:
        nova_section.valid({**SECTION, **changed})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["endpoint", "project_id", "image_id", "flavor_name"])
def test_what_a_section_must_say(key: str) -> None:
    with pytest.raises(errors.PermanentError, match=key):
        nova_section.valid({name: value for name, value in SECTION.items() if name != key})


@pytest.mark.parametrize(
    ("told", "floats"),
    [
        ({}, False),
        ({"floating_ip": "add_yes"}, True),
        ({"floating_ip": True}, True),
        ({"floating_ip": "no"}, False),
        ({"floating_ip": False}, False),
        ({"floating_ip_pool": "public"}, True),
    ],
)
def test_switches_are_words_or_truths(told: dict[str, Any], floats: bool) -> None:
    assert nova_section.valid({**SECTION, **told}).floats is floats


def test_numbers_may_come_from_templates() -> None:
    assert nova_section.valid({**SECTION, "volume_size": "10"}).volume_size == 10


def test_an_account_is_where_and_as_whom() -> None:
    account = nova_section.account(SECTION)
    assert account == "nova:https://cloud.example.org:5000/v3:a678d20e71cb4b9f812a31e5f3eb63b0"
    same = {"endpoint": SECTION["endpoint"] + "/", "image_id": "other", "tenant_name": "demo"}
    assert nova_section.account({**SECTION, **same}) == account
    others = [
        {"endpoint": "https://other/v3"},
        {"project_id": "b"},
        {"region_name": "r"},
        {"user_domain_name": "r"},
        {"name": "r"},
    ]
    assert len({account, *(nova_section.account({**SECTION, **changed}) for changed in others)}) == 6


def test_two_kinds_of_credentials() -> None:
    password = nova_section.credentials("a", {"username": "me", "password": "hunter2"})
    program = nova_section.credentials("a", {"type": "application_credential", "id": "i", "secret": "hunter2"})
    assert isinstance(password, nova_section.Password)
    assert isinstance(program, nova_section.ApplicationCredential)
    assert "hunter2" not in repr(password) + repr(program)


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"username": "me"},
        {"username": "me", "password": "hunter2", "token": "hunter2"},
        {"type": "application_credential", "id": "i"},
        {"type": "voms", "proxy": "hunter2"},
        {"type": ["hunter2"]},
    ],
)
def test_credentials_that_are_wrong_are_said_to_be_without_their_values(auth: dict[str, Any]) -> None:
    with pytest.raises(
        errors.PermanentError, match="nova:there: auth_data must have username and password"
    ) as caught:
        nova_section.credentials("nova:there", auth)
    assert "hunter2" not in str(caught.value)
