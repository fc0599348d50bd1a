"""The runner of health checks: what it makes of the answers, how many it asks at once, and that it ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.healthcheck import answers, base, ports, run, urls

ADDRESS = "127.0.0.4"


class Told(base.HealthCheck):
    """Answers as its value says: None, a word, an error, or nothing for ever."""

    value: ClassVar[Any] = list[object]

    def __init__(self, name: str = "check", default: Any = None) -> None:
        self.name = name
        self.default = default  # type: ignore[misc]
        self.now = self.most = self.cancelled = 0

    async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            return await self._answer(value)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1

    async def _answer(self, value: Any) -> status.Reason | None:
        one = value[0] if isinstance(value, list) else value
        if isinstance(one, Exception):
            raise one
        if one == "never":
            await asyncio.Event().wait()
        return answers.waiting_for(self.name, one) if one else None


def job(node_id: str = "n", /, **section: Any) -> run.Job:
    return run.Job(target=base.Target(node_id=node_id, addresses=(ADDRESS,)), section=section)


def examine(jobs: list[run.Job], checks: Mapping[str, base.HealthCheck], **options: Any) -> dict[str, Any]:
    return run.examine_all(jobs, checks, **{"limit": 5.0, "deadline": 10.0, **options})


def one(checks: Mapping[str, base.HealthCheck], /, deadline: float = 10.0, **section: Any) -> tuple[Any, ...] | None:
    found = examine([job(**section)], checks, deadline=deadline)["n"]
    return None if found is None else (found.status, found.reason.code, dict(found.reason.arguments))


def three() -> dict[str, base.HealthCheck]:
    return {
        "urls": Told("urls", []),
        "more": Told("more", []),
        "ports": Told("ports", []),
        "ping": Told("ping", None),
    }


FAILED, UNKNOWN = status.NodeStatus.TEMP_FAILED, status.NodeStatus.UNKNOWN


def test_all_well_is_none() -> None:
    assert one(three(), ping=None, ports=[None, None], urls=[], timeout=600.0) is None
    assert examine([], three()) == {}
    assert examine([job("a"), job("b")], {}) == {"a": None, "b": None}


def test_an_absent_key_is_the_default_of_its_check() -> None:
    assert one({"ping": Told("ping", "refused")}) == (FAILED, "waiting_for", {"check": "ping", "detail": "refused"})
    assert one({"ping": Told("ping", "refused")}, ping=None) is None


@pytest.mark.parametrize(
    ("section", "first"),
    [
        ({"urls": ["u"], "ports": ["p"], "ping": "i"}, "i"),
        ({"urls": ["u"], "ports": ["p"]}, "p"),
        ({"urls": [None, "u1", "u2"], "more": ["m"]}, "u1"),
        ({"more": ["m"]}, "m"),
    ],
)
def test_the_first_failing_check_is_told(section: dict[str, Any], first: str) -> None:
    for _ in range(10):  # whatever the order they were asked in
        found = one(three(), **section)
        assert found is not None
        assert found[2]["detail"] == first


def test_what_could_not_be_asked_is_not_known() -> None:
    found = one(three(), ping=errors.TransientError("no permission"))
    assert found == (UNKNOWN, "not_checked", {"check": "ping", "detail": "no permission"})
    found = one(three(), urls=[errors.TemplateError("undefined")])
    assert found == (UNKNOWN, "not_checked", {"check": "urls", "detail": "undefined"})


def test_a_failing_check_counts_more_than_one_that_could_not_be_asked() -> None:
    found = one(three(), ping=errors.TransientError("no permission"), urls=["HTTP 500"])
    assert found == (FAILED, "waiting_for", {"check": "urls", "detail": "HTTP 500"})


def test_a_check_that_is_broken_is_logged_and_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found = examine([job("a", ping=ValueError("hunter2")), job("b")], three())
    assert found["a"].reason.arguments == {"check": "ping", "detail": "ValueError in the check"}
    assert found["b"] is None
    assert "the health check ping of a failed" in caplog.text
    assert "test_run.py" in caplog.text, "where it failed"
    assert "hunter2" not in caplog.text, "an unexpected error may quote what was rendered"


def test_a_check_that_never_ends_is_ended_after_its_limit() -> None:
    found = examine([job("a", ping="never")], three(), limit=0.05)["a"]
    assert (found.status, found.reason.arguments["detail"]) == (UNKNOWN, "no answer within its limit")


def test_at_the_deadline_all_are_cancelled_and_what_is_known_is_told() -> None:
    check = Told("ports", [])
    jobs = [job("slow", ports=["never"]), job("bad", ports=["never", "refused"]), job("good", ports=[None])]
    began = time.monotonic()
    found = examine(jobs, {"ports": check}, deadline=0.3, limit=60.0)
    assert time.monotonic() - began < 5.0
    assert (check.cancelled, check.now) == (2, 0)
    assert (found["slow"].status, found["slow"].reason.code) == (UNKNOWN, "not_checked")
    assert (found["bad"].status, found["bad"].reason.arguments["detail"]) == (FAILED, "refused")
    assert found["good"] is None


def test_cancelling_the_examination_cancels_its_checks() -> None:
    check = Told("ports", [])

    async def main() -> None:
        examining = asyncio.create_task(
            run.examine([job(ports=["never"])], {"ports": check}, limit=60.0, deadline=60.0)
        )
        while not check.now:
            await asyncio.sleep(0)
        examining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await examining
        assert (check.cancelled, check.now) == (1, 0)

    asyncio.run(main())


def test_no_more_at_once_than_is_allowed() -> None:
    check = Told("ports", [])
    examine([job(str(index), ports=[None] * 10) for index in range(20)], {"ports": check}, concurrency=7)
    assert check.most == 7


def test_files_that_may_still_be_opened_bound_how_many_are_asked_at_once() -> None:
    check = Told("ports", [])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        examine([job(ports=[None] * 1000)], {"ports": check}, concurrency=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 1 < check.most <= 128


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose backlog is full: it answers no SYN."""
    with socket.create_server((ADDRESS, 0), backlog=0) as server, contextlib.ExitStack() as kept:
        port = server.getsockname()[1]
        for _ in range(8):
            client = kept.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((ADDRESS, port))
        yield port


def assert_timed_out(found: Mapping[str, Any], port: int) -> None:
    """A machine that has no time for us does not come to some within their limit: they are said not to be checked."""
    told = Counter(finding.reason.text() for finding in found.values())
    timed_out = told.pop(f"waiting_for: port {port}, timed out")
    assert timed_out > len(found) / 2
    assert set(told) <= {"not_checked: ports, no answer within its limit"}


def test_a_thousand_black_holes_end_within_the_deadline_of_a_pass(black_hole: int) -> None:
    jobs = [job(f"n{index}", ports=[black_hole]) for index in range(1000)]
    began = time.monotonic()
    found = examine(jobs, {"ports": ports.PortsCheck()}, limit=1.0, deadline=5.0)
    assert time.monotonic() - began < 30.0
    assert len(found) == 1000
    assert_timed_out(found, black_hole)


#: What a check that got no answer may say; on a busy machine its own limit may be over before it says so itself.
SILENCE = {"timed out", "no answer within its limit"}


def test_a_thousand_urls_that_do_not_answer_end_within_the_deadline_of_a_pass(black_hole: int) -> None:
    url = f"http://{{{{ ip }}}}:{black_hole}/"
    jobs = [job(f"n{index}", urls=[url]) for index in range(1000)]
    began = time.monotonic()
    found = examine(jobs, {"urls": urls.UrlsCheck()}, limit=1.0, deadline=5.0)
    assert time.monotonic() - began < 60.0  # one after the other: 1,000 s
    assert len(found) == 1000
    assert all(finding is not None and finding.status is not status.NodeStatus.READY for finding in found.values())


def test_urls_that_do_not_answer_are_asked_at_once(black_hole: int) -> None:
    url = f"http://{{{{ ip }}}}:{black_hole}/"
    jobs = [job(f"n{index}", urls=[url]) for index in range(1000)]
    found = examine(jobs, {"urls": urls.UrlsCheck()}, limit=1.0, deadline=100.0)
    assert {finding.reason.text().rpartition(", ")[2] for finding in found.values()} <= SILENCE


#: Run in a network of its own, where no echo is answered: 127.0.0.0/8 answers them everywhere else.
PINGS = """
import json, pathlib, time
from occo_celery.plugins.healthcheck import base, ping, run
pathlib.Path("/proc/sys/net/ipv4/icmp_echo_ignore_all").write_text("1")
jobs = [
    run.Job(target=base.Target(node_id=f"n{n}", addresses=(f"127.1.{n >> 8}.{n & 255}",)), section={"ping": True})
    for n in range(1000)
]
began = time.monotonic()
found = run.examine_all(jobs, {"ping": ping.PingCheck()}, limit=1.0, deadline=5.0)
told = sorted({finding.reason.text() if finding else "ready" for finding in found.values()})
print(json.dumps([len(found), time.monotonic() - began, told]))
"""


@pytest.mark.system
def test_a_thousand_pings_that_are_not_answered_end_within_the_deadline_of_a_pass() -> None:
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"', sys.executable, PINGS]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    count, took, told = json.loads(done.stdout)
    assert count == 1000
    assert took < 60.0  # one after the other: 1,000 s
    assert "waiting_for: ping, timed out" in told
    assert "ready" not in told


def test_more_black_holes_than_the_deadline_has_room_for_are_cut_off(black_hole: int) -> None:
    jobs = [job(f"n{index}", ports=[black_hole]) for index in range(200)]
    began = time.monotonic()
    found = examine(jobs, {"ports": ports.PortsCheck()}, limit=0.4, deadline=1.0, concurrency=50)
    assert time.monotonic() - began < 30.0
    codes = [finding.reason.code for finding in found.values()]
    assert set(codes) == {"waiting_for", "not_checked"}


def test_black_holes_are_asked_at_once(black_hole: int) -> None:
    jobs = [job(f"n{index}", ports=[black_hole]) for index in range(200)]
    began = time.monotonic()
    found = examine(jobs, {"ports": ports.PortsCheck()}, limit=1.0, deadline=60.0)
    assert time.monotonic() - began < 30.0  # one after the other: 200 s
    assert_timed_out(found, black_hole)


def test_who_is_cut_off_by_the_deadline_is_not_always_the_same() -> None:
    asked = set()
    for _ in range(20):
        found = examine(
            [job("a", x="never"), job("b", x="never"), job("c", x="never")],
            {"x": _First()},
            deadline=0.05,
            limit=9.0,
            concurrency=1,
        )
        asked |= {node_id for node_id, finding in found.items() if finding.status is FAILED}
    assert len(asked) > 1


class _First(base.HealthCheck):
    """Answers the first who asks, then nobody."""

    default: ClassVar[Any] = None
    asked = False

    async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
        if not self.asked:
            self.asked = True
            return answers.waiting_for("x", "first")
        await asyncio.Event().wait()
        return None


def test_a_name_server_that_is_silent_does_not_outlast_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*args: object, **options: object) -> list[Any]:
        answered.wait(30.0)
        raise socket.gaierror(socket.EAI_AGAIN, "again")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    target = base.Target(node_id="n", addresses=("db.example.org",))
    began = time.monotonic()
    try:
        found = examine(
            [run.Job(target=target, section={"ports": [22]})], {"ports": ports.PortsCheck()}, deadline=0.2
        )
        assert time.monotonic() - began < 5.0
    finally:
        answered.set()
    assert found["n"].status is UNKNOWN


@pytest.mark.parametrize(
    ("number", "expected"), [(socket.EAI_AGAIN, UNKNOWN), (socket.EAI_NONAME, FAILED)], ids=["again", "no name"]
)
def test_a_name_that_cannot_be_resolved_now_is_not_known(
    monkeypatch: pytest.MonkeyPatch, number: int, expected: status.NodeStatus
) -> None:
    def getaddrinfo(*args: object, **options: object) -> list[Any]:
        raise socket.gaierror(number, "text")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    target = base.Target(node_id="n", addresses=("db.example.org",))
    found = examine([run.Job(target=target, section={"ports": [22]})], {"ports": ports.PortsCheck()})
    assert found["n"].status is expected
