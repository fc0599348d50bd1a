"""How answers of daemons and registries are sorted, where no real one can be had to give them."""

from __future__ import annotations

import pytest

from occo_celery import errors
from occo_celery.plugins.resourcehandler import docker_errors


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("failed to register layer: write /usr/lib/x: no space left on device", errors.CapacityError),
        ("pull access denied for shop, repository does not exist", errors.PermanentError),
        ("manifest for nginx:0 not found: manifest unknown", errors.PermanentError),
        ("unauthorized: authentication required", errors.PermanentError),
        ("toomanyrequests: You have reached your pull rate limit", errors.TransientError),
        ("Get https://registry/v2/: dial tcp: connection refused", errors.TransientError),
    ],
)
def test_what_is_said_of_images(words: str, kind: type[errors.ResourceError]) -> None:
    problem = docker_errors.of_image(words)
    assert type(problem) is kind
    assert str(problem) == words


def test_a_registry_that_is_asked_too_often_is_left_alone_for_a_minute() -> None:
    problem = docker_errors.of_image("toomanyrequests: slow down")
    assert isinstance(problem, errors.TransientError)
    assert problem.delay == 60


def test_a_login_that_is_quoted_is_hidden() -> None:
    problem = docker_errors.of_image('unauthorized: "ann:hunter\\"2" is not known', ['hunter"2'])
    assert isinstance(problem, errors.PermanentError)
    assert str(problem) == 'unauthorized: "ann:***" is not known'
