"""The keys of a section, the names of accounts, tokens."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from occo_celery import errors
from occo_celery.plugins import registry
from occo_celery.plugins.resourcehandler import ec2, ec2_section

SECTION = {
    "type": "ec2",
    "endpoint": "https://ec2.eu-west-1.amazonaws.com",
    "regionname": "eu-west-1",
    "image_id": "ami-1",
    "instance_type": "t3.micro",
}


def test_the_registry_knows_it() -> None:
    assert registry.load("resource", "ec2") is ec2.Ec2Handler


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"endpoint": "ec2.eu-west-1.amazonaws.com"}, "endpoint"),
        ({"endpoint": "https://AKIA:hunter2@ec2.example"}, "without user and password"),
        ({"endpoint": "http://[::1"}, "endpoint"),
        ({"endpoint": "https://ec2.example?key=hunter2"}, "endpoint"),
        ({"regionname": ""}, "regionname"),
        ({"tags": {"Name": "mine"}}, "Name"),
        ({"tags": {"occo_node_id": "another"}}, "occo_node_id"),
        ({"tags": {"aws:x": "y"}}, "aws:x"),
        ({"tags": {str(number): "" for number in range(47)}}, "46"),
        ({"security_group_ids": "sg-1"}, "security_group_ids"),
    ],
)
def test_what_a_section_must_not_say(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        ec2_section.Ec2Section.model_validate({**SECTION, **changed})
    with pytest.raises(errors.PermanentError, match=message) as caught:
        ec2_section.valid({**SECTION, **changed})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["endpoint", "regionname", "image_id", "instance_type"])
def test_what_a_section_must_say(key: str) -> None:
    with pytest.raises(errors.PermanentError, match=key):
        ec2_section.valid({name: value for name, value in SECTION.items() if name != key})


def test_an_account_is_where_and_as_whom() -> None:
    account = ec2_section.account(SECTION)
    assert account == "ec2:https://ec2.eu-west-1.amazonaws.com:eu-west-1"
    assert ec2_section.account({**SECTION, "endpoint": SECTION["endpoint"] + "/", "image_id": "ami-2"}) == account
    others = [{"endpoint": "https://ec2.example"}, {"regionname": "eu-west-2"}, {"name": "billed to another"}]
    assert len({account, *(ec2_section.account({**SECTION, **changed}) for changed in others)}) == 4


@pytest.mark.parametrize("node_id", ["a" * 64, "a" * 65, "grün", "a-1"])
def test_a_token_fits_and_is_the_nodes_own(node_id: str) -> None:
    token = ec2._token(node_id)
    assert token.isascii()
    assert len(token) <= 64
    assert token == ec2._token(node_id) != ec2._token(node_id + "b")
