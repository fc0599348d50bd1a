"""What OpenStack's answers mean: through the SDK's own reading of responses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from occo_celery import errors
from occo_celery.plugins.resourcehandler import nova, nova_errors
from tests.contract.cases import wait_until
from tests.unit.nova.test_section import SECTION

PASSWORD = {"username": "occo", "password": "hunter2"}


def answered(status: int, message: str = "said the cloud", *, write: bool = True, **headers: str) -> Exception:
    """The error of ours for an answer of Nova's or Neutron's."""
    response = requests.Response()
    response.status_code, response.url = status, "https://nova.example/servers"
    response._content = json.dumps({"error": {"code": status, "message": message}}).encode()
    response.headers.update({"Content-Type": "application/json", **headers})
    with pytest.raises(errors.ResourceError) as caught, nova_errors.translated(write=write, secrets=["hunter2"]):
        sdk.raise_from_response(response)
    return caught.value


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Invalid imageRef provided.", errors.PermanentError),
        (401, "The request you have made requires authentication.", errors.PermanentError),
        (403, "Policy doesn't allow os_compute_api:servers:create to be performed.", errors.PermanentError),
        (403, "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances", errors.CapacityError),
        (404, "Image d4f4e496 could not be found.", errors.PermanentError),
        (409, "Quota exceeded for resources: ['port'].", errors.CapacityError),
        (409, "No more IP addresses available on network 2ad7.", errors.CapacityError),
        (409, "Instance is locked", errors.TransientError),
        (409, "Multiple possible networks found, use a Network ID to be more specific.", errors.PermanentError),
        (429, "Too many requests", errors.TransientError),
        (413, "This request was rate-limited.", errors.TransientError),
        (500, "Unexpected API Error.", errors.OutcomeUnknown),
        (503, "Service Unavailable", errors.OutcomeUnknown),
    ],
)
def test_what_an_answer_means_for_what_was_asked_for(status: int, message: str, kind: type[Exception]) -> None:
    problem = answered(status, message)
    assert type(problem) is kind
    assert message in str(problem)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_who_only_looked_has_no_answer(status: int) -> None:
    assert type(answered(status, write=False)) is errors.CloudSilent


def test_the_time_that_the_cloud_asks_for_is_kept() -> None:
    problem = answered(429, **{"Retry-After": "17"})
    assert isinstance(problem, errors.TransientError)
    assert problem.delay == 17.0


def test_no_message_has_a_secret() -> None:
    problem = answered(400, "Bad user_data aHVudGVyMg== of hunter2")
    assert str(problem) == "400: Bad user_data *** of ***"
    assert problem.__cause__ is None


@pytest.mark.parametrize(
    ("problem", "write", "kind"),
    [
        (keystone.Unauthorized("no"), True, errors.PermanentError),
        (keystone.ServiceUnavailable("later"), True, errors.TransientError),
        (keystone.ServiceUnavailable("later"), False, errors.CloudSilent),
        (keystone.DiscoveryFailure("what is this?"), True, errors.TransientError),
        (keystone.TooManyRequests("slowly"), True, errors.TransientError),
        (keystone.EndpointNotFound("no compute in region there"), True, errors.PermanentError),
    ],
)
def test_before_the_service_was_asked_nothing_was_done(
    problem: Exception, write: bool, kind: type[Exception]
) -> None:
    with pytest.raises(errors.ResourceError) as caught, nova_errors.translated(write=write):
        raise problem
    assert type(caught.value) is kind


# --- no answer at all ---------------------------------------------------------------------------------


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield int(server.getsockname()[1])


def handler_at(port: int, **more: Any) -> nova.NovaHandler:
    section = {**SECTION, "endpoint": f"http://127.0.0.1:{port}/v3", **more}
    return nova.NovaHandler(nova.NovaHandler.account(section, {}), section, PASSWORD, {})


def test_where_nothing_listens_nothing_was_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refused
        handler = handler_at(free.getsockname()[1])
        with pytest.raises(errors.TransientError) as caught:
            handler.drop("server-1", 5.0)
        assert type(caught.value) is errors.TransientError
        with pytest.raises(errors.CloudSilent):
            handler.observe(["n1"], 5.0)


def test_before_there_is_a_token_nothing_was_asked_for(mute: int) -> None:
    handler = handler_at(mute)
    with pytest.raises(errors.TransientError) as caught:
        handler.drop("server-1", 0.5)
    assert type(caught.value) is errors.TransientError
    with pytest.raises(errors.CloudSilent):
        handler.sweep(None, 0.5)


def test_who_waits_for_a_token_waits_for_his_own_time_only(mute: int) -> None:
    """keystoneauth lets one thread ask, and the others wait until it has an answer or gives up."""
    handler = handler_at(mute)

    def look(timeout: float) -> None:
        with pytest.raises(errors.CloudSilent):
            handler.observe(["n1"], timeout)

    patient = threading.Thread(target=look, args=(30.0,), daemon=True)
    patient.start()
    wait_until(lambda: handler._client._process is not None and handler._client._process.lock.locked())
    look(0.5)
    assert patient.is_alive()
