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
        except errors.NotYet:
            return None

    return wait_until(create, 30.0, "the container") or status.NodeStatus.UNKNOWN


def refusal(world: World, node_id: str, auth: dict[str, str] | None = None, **section: str) -> errors.ResourceError:
    """Create in the same way; returns why that cannot be."""
    handler = world.handler(auth)

    def refused() -> errors.ResourceError | None:
        try:
            handler.create(world.creation(node_id, **section))
        except errors.NotYet:
            return None
        except errors.ResourceError as problem:
            return problem
        raise AssertionError("it was made")

    found = wait_until(refused, 30.0, "the refusal")
    assert found is not None
    return found


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
    image = f"{images.host}/{repository}/web"
    problem = refusal(world, node_id, image=image, origin="dockerhub")
    assert type(problem) is kind
    assert image in str(problem)
    assert re.search(message, str(problem))
    assert world.daemon.containers() == []


def test_where_no_registry_answers_it_may_later(world: World, node_id: str) -> None:
    problem = refusal(world, node_id, image="127.0.0.1:9/shop/web", origin="dockerhub")
    assert isinstance(problem, errors.TransientError)
    assert "refused" in str(problem)


def test_a_private_image_wants_the_login_of_the_account(world: World, private_images: Registry, node_id: str) -> None:
    section = {"image": f"{private_images.host}/private/web", "origin": "dockerhub"}
    problem = refusal(world, node_id, **section)
    assert isinstance(problem, errors.PermanentError)
    assert re.search("(?i)unauthorized|denied|authentication|credentials", str(problem))
    wrong = {"username": "ann", "password": "hunter3-registry"}
    problem = refusal(world, node_id, wrong, **section)
    assert isinstance(problem, errors.PermanentError)
    assert "hunter3" not in str(problem)
    user, password = docker_registry.LOGIN
    assert made(world, node_id, {"username": user, "password": password}, **section) is status.NodeStatus.READY


def test_an_archive_is_loaded_from_its_url(world: World, archives: Registry, node_id: str) -> None:
    section = {"image": "loaded", "tag": "1", "origin": archives.archive}
    assert made(world, node_id, **section) is status.NodeStatus.READY


def test_an_archive_without_the_image_says_what_it_holds(world: World, archives: Registry, node_id: str) -> None:
    problem = refusal(world, node_id, image="other:1", origin=archives.archive)
    assert isinstance(problem, errors.PermanentError)
    assert re.search(r"does not hold the image other:1: .*loaded:1", str(problem))


def test_an_archive_that_is_not_there(world: World, archives: Registry, node_id: str) -> None:
    problem = refusal(world, node_id, image="other:1", origin=f"http://{archives.host}/nothing.tar")
    assert isinstance(problem, errors.PermanentError)
    assert "answered 404" in str(problem)


def test_what_is_no_archive(world: World, archives: Registry, node_id: str) -> None:
    problem = refusal(world, node_id, image="other:1", origin=f"http://{archives.host}/v2/")
    assert "image other:1" in str(problem)
    assert not isinstance(problem, errors.OutcomeUnknown)


def test_a_local_image_must_be_there(world: World, node_id: str) -> None:
    with pytest.raises(errors.PermanentError, match="no image nobody/web:latest, and origin is local"):
        world.handler().create(world.creation(node_id, image="nobody/web"))
