"""Keys that choose the account, where nothing stands that is only known later; keys that others can read."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
import pytest

from occo_celery import encryption, errors, settings, wiring
from occo_celery.api import importing
from occo_celery.compiler import json_schema
from occo_celery.plugins import registry

EC2 = {
    "type": "ec2",
    "endpoint": "https://ec2.eu-west-1.amazonaws.com",
    "regionname": "eu-west-1",
    "image_id": "ami-1",
    "instance_type": "t3.micro",
}
DOCKER = {"type": "docker", "endpoint": "tcp://127.0.0.1:9", "image": "web"}
NOVA = {
    "type": "nova",
    "endpoint": "https://cloud.example.org:5000/v3",
    "project_id": "p",
    "image_id": "i",
    "flavor_name": "f",
}
CHOOSING = [
    *((NOVA, key) for key in ("name", "endpoint", "project_id", "user_domain_name", "region_name")),
    *((EC2, key) for key in ("name", "endpoint", "regionname")),
    *((DOCKER, key) for key in ("name", "endpoint")),
]
EDITOR = jsonschema.Draft202012Validator(json_schema.node_definitions(registry.schema_for, registry.names)[0])


def problems(section: Mapping[str, Any], folder: pathlib.Path) -> list[str]:
    path = folder / "definitions.yaml"
    path.write_text(json.dumps({"node_def:web": [{"resource": section}]}))
    try:
        importing.load(path, encryption.Encryption(()))
    except errors.SchemaError as problem:
        return [f"{one.path}: {one.message}" for one in problem.problems]
    return []


@pytest.mark.parametrize("value", [{"secret": "x"}, "{{ variables.x }}", "a{% if x %}b{% endif %}"], ids=str)
@pytest.mark.parametrize(("section", "key"), CHOOSING)
def test_nothing_that_is_only_known_later_chooses_an_account(
    section: Mapping[str, Any], key: str, value: Any, tmp_path: pathlib.Path
) -> None:
    said = "must be the value itself: the account is chosen before anything is rendered or fetched"
    assert problems({**section, key: value}, tmp_path) == [f"node_def:web[0].resource.{key}: {said}"]
    assert not EDITOR.is_valid({"node_def:web": [{"resource": {**section, key: value}}]})


@pytest.mark.parametrize(("section", "other"), [(EC2, "image_id"), (NOVA, "image_id"), (DOCKER, "origin")])
def test_other_keys_may_be_known_later(section: Mapping[str, Any], other: str, tmp_path: pathlib.Path) -> None:
    for value in ({"secret": "x"}, "{{ variables.x }}"):
        named = {**section, "name": "billed to another", other: value}
        assert problems(named, tmp_path) == []
        EDITOR.validate({"node_def:web": [{"resource": named}]})


def auth(*filters: Mapping[str, Any]) -> settings.AuthData:
    data = {"accesskey": "AKIA", "secretkey": "hunter2"}
    entries: Sequence[Any] = [{**one, "auth_data": data} for one in filters]
    return settings.AuthData(source="auth.yaml", resource=entries)


def system(folder: pathlib.Path, data: settings.AuthData) -> wiring.System:
    return wiring.System(settings.Settings(source="test", home=folder, uds_url="", broker_url="", auth=data))


BLUE = {"type": "ec2", "key_name": "blue"}
SAID = (
    "auth.yaml: entry 1 of 'resource' goes by key_name; credentials for 'ec2' can only go by what chooses the "
    "account: type, name, endpoint, regionname"
)


@pytest.mark.parametrize("section", [{**EC2, "key_name": "blue"}, {**EC2, "key_name": "red"}, EC2], ids=str)
def test_credentials_of_one_section_are_never_those_of_another(
    section: Mapping[str, Any], tmp_path: pathlib.Path
) -> None:
    clouds = system(tmp_path, auth(BLUE, {**BLUE, "key_name": "red"})).clouds
    with pytest.raises(errors.ConfigurationError) as caught:
        clouds.handler(clouds.account(section), section)
    assert str(caught.value) == SAID


def test_nor_if_the_entry_says_no_type(tmp_path: pathlib.Path) -> None:
    clouds = system(tmp_path, auth({"regionname": "eu-west-1"}, {"key_name": "blue"})).clouds
    section = {**EC2, "key_name": "blue"}
    with pytest.raises(errors.ConfigurationError, match="entry 2 of 'resource' goes by key_name"):
        clouds.handler(clouds.account(section), section)
    clouds.handler(clouds.account(EC2), EC2)  # entry 1


def test_entries_are_looked_at_before_they_are_used() -> None:
    right = (
        {"type": "ec2", "regionname": "eu-west-1"},
        {"type": "docker", "name": "a"},
        {"type": "not here", "x": 1},
    )
    auth(*right).check(wiring.choosing)
    with pytest.raises(errors.ConfigurationError) as caught:
        auth(BLUE).check(wiring.choosing)
    assert str(caught.value) == SAID


PROCESS = {"type": "process", "command": ["serve", "shop"]}


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ({**PROCESS, "command": {"secret": "x"}}, "command"),
        ({**PROCESS, "command": ["serve", {"secret": "x"}]}, "command[1]"),
        ({**DOCKER, "image": {"secret": "x"}}, "image"),
        ({**DOCKER, "tag": {"secret": "x"}}, "tag"),
    ],
)
def test_what_others_can_read_is_no_place_for_a_secret(
    section: Mapping[str, Any], place: str, tmp_path: pathlib.Path
) -> None:
    said = f"node_def:web[0].resource.{place}: must not hold a secret: others can read it"
    assert problems(section, tmp_path) == [said]
