"""The keys of a section, the names of accounts and of images."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from occo_celery import errors
from occo_celery.plugins import registry
from occo_celery.plugins.resourcehandler import docker, docker_section

SECTION = {"type": "docker", "endpoint": "unix:///var/run/docker.sock", "image": "nginx"}


def test_the_registry_knows_it() -> None:
    assert registry.load("resource", "docker") is docker.DockerHandler


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"endpoint": "/var/run/docker.sock"}, "must be like unix://"),
        ({"endpoint": "unix://"}, "must be like unix://"),
        ({"endpoint": "ssh://root@host"}, "must be like unix://"),
        ({"endpoint": "tcp://ann:hunter2@host:2375"}, "must be like unix://"),
        ({"endpoint": "tcp://[::1"}, "must be like unix://"),
        ({"image": ""}, "image"),
        ({"image": "hunter2:1.27", "tag": "1.28"}, "`image` has a tag or digest of its own: leave out `tag`"),
        ({"image": "nginx@sha256:00", "tag": "1.28"}, "leave out `tag`"),
        ({"image": "nginx:{{ secret('hunter2') }}"}, "`image` must not hold a secret"),
        ({"tag": "{{ secret('hunter2') }}"}, "`tag` must not hold a secret"),
        ({"origin": "quay"}, "dockerhub, local or the http"),
        ({"origin": "file:///etc/passwd"}, "dockerhub, local or the http"),
        ({"origin": "https://ann:hunter2@host/image.tar"}, "without user and password"),
    ],
)
def test_what_a_section_must_not_say(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        docker_section.DockerSection.model_validate({**SECTION, **changed})
    with pytest.raises(errors.PermanentError, match=message) as caught:
        docker_section.valid({**SECTION, **changed})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "reference"),
    [
        ({}, "nginx:latest"),
        ({"tag": "1.27"}, "nginx:1.27"),
        ({"image": "nginx:1.27"}, "nginx:1.27"),
        ({"image": "localhost:5000/shop/web"}, "localhost:5000/shop/web:latest"),
        ({"image": "localhost:5000/shop/web:2"}, "localhost:5000/shop/web:2"),
        ({"image": "nginx@sha256:00"}, "nginx@sha256:00"),
    ],
)
def test_the_full_name_of_an_image(changed: dict[str, Any], reference: str) -> None:
    assert docker_section.valid({**SECTION, **changed}).reference() == reference


def test_an_account_is_where_and_as_whom() -> None:
    assert docker_section.account(SECTION) == "docker:unix:///var/run/docker.sock"
    occopus = {**SECTION, "endpoint": "unix://var/run/docker.sock"}
    assert docker_section.account(occopus) == "docker:unix:///var/run/docker.sock"
    assert docker_section.account({**SECTION, "name": "blue"}) == "docker:unix:///var/run/docker.sock:blue"
    assert docker_section.account({**SECTION, "image": "other"}) == docker_section.account(SECTION)


def test_where_containers_in_the_network_of_their_host_are() -> None:
    assert docker_section.host("unix:///var/run/docker.sock") == "127.0.0.1"
    assert docker_section.host("unix://var/run/docker.sock") == "127.0.0.1"
    assert docker_section.host("tcp://10.0.0.5:2375") == "10.0.0.5"


def test_credentials_may_be_missing_but_not_by_half() -> None:
    assert docker_section.credentials("docker:x", {}) is None
    with pytest.raises(errors.PermanentError, match="password") as caught:
        docker_section.credentials("docker:x", {"username": "ann"})
    assert "ann" not in str(caught.value)
    assert "hunter2" not in repr(docker_section.Credentials(username="ann", password="hunter2"))


def test_options_that_there_are_not_are_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="stop_grcae"):
        docker.DockerHandler("docker:x", SECTION, {}, {"stop_grcae": 1})
