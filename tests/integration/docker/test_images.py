"""How images get to the daemon: from a registry that speaks the real protocol, and from archives."""

from __future__ import annotations

import re

import pytest

from occo_celery import errors
from occo_celery.model import status
from tests import docker_registry
from tests.contract.cases import wait_until
from tests.integration.docker.conftest import Registry, World

pytestmark = pytest.mark.system


def made(world: World, node_id: str, auth: dict[str, str] | None = None, **section: str) -> status.NodeStatus:
    """Create as workers do: again and again while the image is on its way. The image's own command runs."""
    handler = world.handler(auth)

    def create() -> status.NodeStatus | None:
        try:
            return handler.create(world.creation(node_id, command=None, **section)).state
        except errors.TransientError as problem:
            if "is being fetched from" not in str(problem):
                raise
            return None

    return wait_until(create, 30.0, "the container") or status.NodeStatus.UNKNOWN


@pytest.fixture(autouse=True)
def without_images(world: World) -> None:
    """What earlier tests have pulled is forgotten."""
    with world.daemon.client() as client:
        for image in client.images():
            for name in image["RepoTags"] or ():
                if name != world.section["image"]:
                    client.remove_image(name, force=True)


def test_an_image_is_pulled_when_it_is_not_there(world: World, images: Registry, node_id: str) -> None:
    section = {"image": f"{images.host}/shop/web", "tag": "2", "origin": "dockerhub"}
    assert made(world, node_id, **section) is status.NodeStatus.READY
    assert [one["Image"] for one in world.daemon.containers()] == [f"{images.host}/shop/web:2"]


def test_nobody_waits_for_a_slow_pull_and_it_goes_on(world: World, images: Registry, node_id: str) -> None:
    section = {"image": f"{images.host}/slow/web", "origin": "dockerhub"}
    handler = world.handler()
    for _ in range(2):
        with pytest.raises(errors.NotYet, match="is being fetched from dockerhub") as caught:
            handler.create(world.creation(node_id, **section))
        assert caught.value.delay == 5
    assert world.daemon.containers() == []
    images.release.touch()
    assert made(world, node_id, **section) is status.NodeStatus.READY


@pytest.mark.parametrize(
    ("repository", "kind", "message"),
    [
        ("missing", errors.PermanentError, "(?i)manifest unknown|not found"),
        ("busy", errors.TransientError, "(?i)toomanyrequests|too many requests"),
        ("broken", errors.TransientError, "the registry is broken|500"),
    ],
)
def test_what_registries_refuse(
    world: World, images: Registry, node_id: str, repository: str, kind: type[errors.ResourceError], message: str
) -> None:
    handler, image = world.handler(), f"{images.host}/{repository}/web"

    def refused() -> errors.ResourceError | None:
        try:
            handler.create(world.creation(node_id, image=image, origin="dockerhub"))
        except errors.ResourceError as problem:
            return None if "is being fetched" in str(problem) else problem
        raise AssertionError("it was made")

    problem = wait_until(refused, 30.0)
    assert type(problem) is kind
    assert image in str(problem)
    assert re.search(message, str(problem))
    assert world.daemon.containers() == []


def test_where_no_registry_answers_it_may_later(world: World, node_id: str) -> None:
    with pytest.raises(errors.TransientError, match="refused"):
        world.handler().create(world.creation(node_id, image="127.0.0.1:9/shop/web", origin="dockerhub"))


def test_a_private_image_wants_the_login_of_the_account(world: World, private_images: Registry, node_id: str) -> None:
    section = {"image": f"{private_images.host}/private/web", "origin": "dockerhub"}
    with pytest.raises(errors.PermanentError, match=r"(?i)unauthorized|denied|authentication|credentials"):
        world.handler().create(world.creation(node_id, **section))
    wrong = {"username": "ann", "password": "hunter3-registry"}
    with pytest.raises(errors.PermanentError) as caught:
        world.handler(wrong).create(world.creation(node_id, **section))
    assert "hunter3" not in str(caught.value)
    user, password = docker_registry.LOGIN
    assert made(world, node_id, {"username": user, "password": password}, **section) is status.NodeStatus.READY


def test_an_archive_is_loaded_from_its_url(world: World, archives: Registry, node_id: str) -> None:
    section = {"image": "loaded", "tag": "1", "origin": archives.archive}
    assert made(world, node_id, **section) is status.NodeStatus.READY


def test_an_archive_without_the_image_says_what_it_holds(world: World, archives: Registry, node_id: str) -> None:
    with pytest.raises(errors.PermanentError, match=r"does not hold the image other:1: .*loaded:1"):
        world.handler().create(world.creation(node_id, image="other:1", origin=archives.archive))


def test_an_archive_that_is_not_there(world: World, archives: Registry, node_id: str) -> None:
    url = f"http://{archives.host}/nothing.tar"
    with pytest.raises(errors.PermanentError, match="answered 404"):
        world.handler().create(world.creation(node_id, image="other:1", origin=url))


def test_what_is_no_archive(world: World, archives: Registry, node_id: str) -> None:
    with pytest.raises(errors.ResourceError, match="image other:1") as caught:
        world.handler().create(world.creation(node_id, image="other:1", origin=f"http://{archives.host}/v2/"))
    assert not isinstance(caught.value, errors.OutcomeUnknown)


def test_a_local_image_must_be_there(world: World, node_id: str) -> None:
    with pytest.raises(errors.PermanentError, match="no image nobody/web:latest, and origin is local"):
        world.handler().create(world.creation(node_id, image="nobody/web"))
