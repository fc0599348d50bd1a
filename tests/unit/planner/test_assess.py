"""From what was seen to a status: each case, and that not knowing never counts as failing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occo_celery.model.observation import Observation, Sighting
from occo_celery.model.status import Finding, NodeStatus, Reason
from occo_celery.planner import assess
from tests.unit.planner import making

NOW = 1000.0
UP = (Sighting(instance_id="vm-1", state=NodeStatus.READY, reason=Reason(code="running"), addresses=("10.0.0.1",)),)
BOOTING = (Sighting(instance_id="vm-1", state=NodeStatus.PENDING, reason=Reason(code="booting")),)
STOPPED = (Sighting(instance_id="vm-1", state=NodeStatus.SHUTDOWN, reason=Reason(code="stopped")),)
SICK = Finding(status=NodeStatus.TEMP_FAILED, reason=Reason(code="waiting_for", arguments={"check": "port 80"}))
ASKED_IN_VAIN = Finding(status=NodeStatus.UNKNOWN, reason=Reason(code="not_checked"))
CONFIGURING = Finding(status=NodeStatus.PENDING, reason=Reason(code="configuring"))

# what the row says, what was seen, the status that follows, the code of its reason
CASES: list[tuple[str, dict[str, Any], dict[str, Any], NodeStatus, str]] = [
    ("all is well", {}, {"sightings": UP}, NodeStatus.READY, "ready"),
    ("the cloud says booting", {"ready_at": None}, {"sightings": BOOTING}, NodeStatus.PENDING, "booting"),
    ("the cloud says stopped", {}, {"sightings": STOPPED}, NodeStatus.SHUTDOWN, "stopped"),
    ("no answer", {}, {"sightings": None}, NodeStatus.UNKNOWN, "account_silent"),
    ("no answer, missing before", {"missing_since": 1.0}, {"sightings": None}, NodeStatus.UNKNOWN, "account_silent"),
    ("not listed, first look", {}, {"sightings": ()}, NodeStatus.UNKNOWN, "not_listed"),
    ("not listed, within the grace", {"missing_since": 999.0}, {"sightings": ()}, NodeStatus.UNKNOWN, "not_listed"),
    ("not listed, twice, grace over", {"missing_since": 990.0}, {"sightings": ()}, NodeStatus.FAILED, "vanished"),
    ("only a stray is listed", {"instance_id": "vm-9"}, {"sightings": UP}, NodeStatus.UNKNOWN, "not_listed"),
    ("unhealthy before it was ever ready", {"ready_at": None}, {"sightings": UP, "health": SICK}, NodeStatus.PENDING,
     "waiting_for"),
    ("unhealthy after it was ready", {}, {"sightings": UP, "health": SICK}, NodeStatus.TEMP_FAILED, "waiting_for"),
    ("unhealthy for too long", {"failing_since": 300.0}, {"sightings": UP, "health": SICK}, NodeStatus.FAILED,
     "unhealthy"),
    ("unhealthy, not yet too long", {"failing_since": 500.0}, {"sightings": UP, "health": SICK},
     NodeStatus.TEMP_FAILED, "waiting_for"),
    ("a check that could not be made", {"failing_since": 1.0}, {"sightings": UP, "health": ASKED_IN_VAIN},
     NodeStatus.UNKNOWN, "not_checked"),
    ("not configured yet", {"ready_at": None}, {"sightings": UP, "config": CONFIGURING}, NodeStatus.PENDING,
     "configuring"),
    ("never came up", {"ready_at": None, "called_at": -900.0}, {"sightings": BOOTING}, NodeStatus.FAILED,
     "create_timeout"),
    ("never became healthy", {"ready_at": None, "called_at": -900.0}, {"sightings": UP, "health": SICK},
     NodeStatus.FAILED, "create_timeout"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "seen", "expected", "code"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_case(row: dict[str, Any], seen: dict[str, Any], expected: NodeStatus, code: str) -> None:
    before = making.an_instance(1, "a", "ready", **row)
    after = assess.assess(before, Observation(absence_grace=5.0, **seen), asked=NOW, now=NOW)
    assert (after.status, after.reason.code) == (expected, code)


def test_what_has_not_changed_is_not_written() -> None:
    once = assess.assess(making.an_instance(1, "a", "ready"), Observation(sightings=UP), asked=NOW, now=NOW)
    assert assess.assess(once, Observation(sightings=UP), asked=NOW + 100, now=NOW + 100) == once


def test_a_reason_keeps_the_time_when_it_began() -> None:
    seen = Observation(sightings=UP, health=SICK)
    once = assess.assess(making.an_instance(1, "a", "ready"), seen, asked=NOW, now=NOW)
    again = assess.assess(once, seen, asked=NOW + 100, now=NOW + 100)
    assert (again.reason.since, again.failing_since) == (NOW, NOW)


def test_a_break_ends_what_was_failing_and_silence_does_not() -> None:
    failing = making.an_instance(1, "a", "temp_failed", failing_since=900.0)
    assert assess.assess(failing, Observation(sightings=UP), asked=NOW, now=NOW).failing_since is None
    assert assess.assess(failing, Observation(sightings=None), asked=NOW, now=NOW).failing_since == 900.0


@given(
    row=st.fixed_dictionaries(
        {
            "ready_at": st.none() | st.just(50.0),
            "failing_since": st.none() | st.floats(0, NOW),
            "missing_since": st.none() | st.floats(0, NOW),
            "called_at": st.floats(-1e6, NOW),
        }
    )
)
def test_silence_never_fails_an_instance(row: dict[str, Any]) -> None:
    before = making.an_instance(1, "a", "ready", **row)
    after = assess.assess(before, Observation(sightings=None), asked=NOW, now=NOW)
    assert after.status is NodeStatus.UNKNOWN
