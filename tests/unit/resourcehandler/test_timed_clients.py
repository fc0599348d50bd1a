"""Clients by time limit: made once, by one thread, and nobody waits for it longer than it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures

import pytest

from occo_celery import errors
from occo_celery.plugins.resourcehandler import timed_clients
from tests.contract.cases import wait_until

PATIENCE = 60.0


class Cloud:
    """Where connecting takes as long as the test wants."""

    def __init__(self) -> None:
        self.go, self.limits = threading.Event(), list[int]()
        self.problem: Exception | None = None

    def connect(self, limit: int) -> str:
        self.limits.append(limit)
        assert self.go.wait(PATIENCE)
        if self.problem is not None:
            raise self.problem
        return f"client of {limit} s"

    def clients(self) -> timed_clients.TimedClients[str]:
        return timed_clients.TimedClients(self.connect, "cloud")


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


def at_once(work: Callable[[], str], count: int) -> list[futures.Future[str]]:
    pool = futures.ThreadPoolExecutor(count)
    started = [pool.submit(work) for _ in range(count)]
    pool.shutdown(wait=False)
    return started


def test_nobody_waits_longer_than_it_may_for_a_client_that_another_makes() -> None:
    cloud = Cloud()
    clients = cloud.clients()
    (maker,) = at_once(lambda: clients.get(in_seconds(1.9), errors.CloudSilent), 1)
    wait_until(lambda: cloud.limits)
    try:
        waiters = at_once(lambda: clients.get(in_seconds(1.9), errors.CloudSilent), 6)
        done, waiting = futures.wait(waiters, timeout=PATIENCE)
        assert not waiting
        assert [type(one.exception()) for one in done] == [errors.CloudSilent] * 6
        assert not maker.done(), "all of them ended while the first still connected"
        assert cloud.limits == [1]
    finally:
        cloud.go.set()


def test_who_has_time_for_another_client_does_not_wait_for_this_one() -> None:
    cloud = Cloud()
    clients = cloud.clients()
    slow = at_once(lambda: clients.get(in_seconds(1.9), errors.CloudSilent), 1)
    wait_until(lambda: cloud.limits == [1])
    slow += at_once(lambda: clients.get(in_seconds(PATIENCE), errors.CloudSilent), 1)
    wait_until(lambda: cloud.limits == [1, 32])
    cloud.go.set()
    futures.wait(slow, timeout=PATIENCE)


def test_one_makes_it_and_all_get_it() -> None:
    cloud = Cloud()
    clients = cloud.clients()
    callers = at_once(lambda: clients.get(in_seconds(63.0), errors.CloudSilent), 8)
    wait_until(lambda: cloud.limits)
    cloud.go.set()
    assert {one.result(PATIENCE) for one in callers} == {"client of 32 s"}
    assert cloud.limits == [32]


def test_when_making_it_fails_others_try_again() -> None:
    cloud = Cloud()
    clients = cloud.clients()
    cloud.problem = errors.PermanentError("no such host")
    cloud.go.set()
    for _ in range(2):
        with pytest.raises(errors.PermanentError, match="no such host"):
            clients.get(in_seconds(30.0), errors.TransientError)
    cloud.problem = None
    assert clients.get(in_seconds(30.0), errors.TransientError) == "client of 16 s"


@pytest.mark.parametrize(
    ("problem", "late", "kind"),
    [
        (errors.CloudSilent, errors.TransientError, errors.TransientError),
        (errors.CloudSilent, errors.CloudSilent, errors.CloudSilent),
        (errors.CloudSilent, errors.OutcomeUnknown, errors.OutcomeUnknown),
        (errors.PermanentError, errors.TransientError, errors.PermanentError),
        (errors.PermanentError, errors.OutcomeUnknown, errors.OutcomeUnknown),
        (errors.TransientError, errors.OutcomeUnknown, errors.OutcomeUnknown),
    ],
)
def test_what_a_failure_means_depends_on_what_was_begun_before(
    problem: type[errors.ResourceError], late: type[errors.ResourceError], kind: type[errors.ResourceError]
) -> None:
    cloud = Cloud()
    cloud.problem = problem("the cloud's words")
    cloud.go.set()
    with pytest.raises(errors.ResourceError, match="the cloud's words") as caught:
        cloud.clients().get(in_seconds(30.0), late)
    assert type(caught.value) is kind


def test_no_time_no_client() -> None:
    cloud = Cloud()
    with pytest.raises(errors.TransientError, match="cloud: no time was left for the call"):
        cloud.clients().get(in_seconds(0.5), errors.TransientError)
    assert cloud.limits == []
