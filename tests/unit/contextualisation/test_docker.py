"""Environment and command of containers."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from occo_celery import errors
from occo_celery.plugins import registry
from occo_celery.plugins.contextualisation import docker

NAMES = {"name": "web", "type": "web", "secret": {"password": "hunter2"}.__getitem__}


def rendered(**section: Any) -> Any:
    checked = docker.Section.model_validate({"type": "docker", **section})
    return docker.DockerContextualisation().render(checked.model_dump(), NAMES)


def test_the_registry_knows_it() -> None:
    assert registry.load("contextualisation", "docker") is docker.DockerContextualisation


@pytest.mark.parametrize(
    ("env", "environment"),
    [
        ([], {}),
        (["NODE={{ name }}", "EMPTY=", "URL=a=b"], {"NODE": "web", "EMPTY": "", "URL": "a=b"}),
        ({"NODE": "{{ name }}", "PORT": 80, "DEBUG": True}, {"NODE": "web", "PORT": "80", "DEBUG": "true"}),
        ({"PASSWORD": {"secret": "password"}}, {"PASSWORD": "hunter2"}),
        (["PASSWORD={{ secret('password') }}"], {"PASSWORD": "hunter2"}),
    ],
)
def test_env(env: Any, environment: dict[str, str]) -> None:
    assert rendered(env=env).environment == environment


@pytest.mark.parametrize("command", [None, "run --as {{ name }}", ["run", "--as", "{{ name }}"]])
def test_command(command: Any) -> None:
    told = rendered(command=command).command
    assert told == (command and [each.replace("{{ name }}", "web") for each in command]) or told == "run --as web"


@pytest.mark.parametrize("env", [["NODE"], ["=x"], ["A B=x"], {"": "x"}, {"A=B": "x"}, {"A": ["x"]}, ["A"] * 3])
def test_env_that_is_none(env: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match="env"):
        docker.Section.model_validate({"type": "docker", "env": env})


def test_a_template_cannot_make_a_name() -> None:
    with pytest.raises(errors.TemplateError, match="cannot be a variable"):
        docker.DockerContextualisation().render({"env": ["{{ ' ' }}=x"]}, NAMES)


def test_an_undefined_name_is_named_with_its_place() -> None:
    with pytest.raises(errors.TemplateError, match=r"node_def:web contextualisation\.env\[1\].*nobody"):
        rendered(env=["A=1", "B={{ nobody }}"])


def test_all_texts_are_parsed_at_import() -> None:
    section = {"type": "docker", "env": ["A={{ x }}"], "command": "{{ y }}"}
    assert set(docker.DockerContextualisation().templates(section).values()) >= {"A={{ x }}", "{{ y }}"}
