"""Each key of Behaviour does what it says, under a clock that only the test moves."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import simulated

READY, PENDING, SHUTDOWN, FAILED = (status.NodeStatus[name] for name in ("READY", "PENDING", "SHUTDOWN", "FAILED"))
CALLS = ("create", "observe", "drop", "sweep", "logs")


@pytest.fixture
def calls(handler: Any, creation: Any) -> dict[str, Callable[[], Any]]:
    """Every call of the handler, on an instance that is there."""
    made = handler.create(creation("there"))
    return {
        "create": lambda: handler.create(creation("new")),
        "observe": lambda: handler.observe(["there"], 5.0),
        "drop": lambda: handler.drop(made.instance_id, 5.0),
        "sweep": lambda: handler.sweep("infra-1", 5.0),
        "logs": lambda: handler.logs(made.instance_id, 10, 5.0),
    }


def states(handler: Any, node_id: str = "n1") -> list[status.NodeStatus]:
    return [seen.state for seen in handler.observe([node_id], 5.0)[node_id]]


# --- time -------------------------------------------------------------------------------------------


def test_boot_time(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(boot_time=30)
    made = handler.create(creation())
    assert (made.state, made.reason.code, made.reason.since) == (PENDING, "booting", clock.now)
    clock.sleep(29.9)
    assert states(handler) == [PENDING]
    clock.sleep(0.1)
    (seen,) = handler.observe(["n1"], 5.0)["n1"]
    assert (seen.state, seen.reason.code, seen.reason.since) == (READY, "running", clock.now)


def test_shutdown_time(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(shutdown_time=10)
    made = handler.create(creation())
    handler.drop(made.instance_id, 5.0)
    clock.sleep(9)
    assert states(handler) == [SHUTDOWN]
    handler.drop(made.instance_id, 5.0)  # does not begin anew
    clock.sleep(1)
    assert states(handler) == []


def test_latency_is_slept(cloud: Any, calls: Any, clock: Any) -> None:
    cloud.set(latency=0.25)
    for kind in CALLS:
        before = clock.now
        calls[kind]()
        assert clock.now - before == 0.25, kind


def test_latency_beyond_the_time_out_creates_late(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(latency=7)
    before = clock.now
    with pytest.raises(errors.OutcomeUnknown):
        handler.create(creation(timeout=5.0))
    assert clock.now - before == 5.0, "no longer than it was given"
    cloud.set(latency=0)
    assert states(handler) == []
    assert cloud.instances() == []
    clock.sleep(2)
    assert states(handler) == [READY]
    assert len(cloud.instances()) == 1


def test_latency_beyond_the_time_out_drops_late(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    made = handler.create(creation())
    cloud.set(latency=7)
    with pytest.raises(errors.OutcomeUnknown):
        handler.drop(made.instance_id, 5.0)
    cloud.set(latency=0)
    assert states(handler) == [READY]
    assert len(cloud.instances()) == 1
    clock.sleep(2)
    assert states(handler) == []


def test_a_prompt_drop_overtakes_a_late_one(cloud: Any, handler: Any, creation: Any) -> None:
    made = handler.create(creation())
    cloud.set(latency=1000)
    with pytest.raises(errors.OutcomeUnknown):
        handler.drop(made.instance_id, 5.0)
    cloud.set(latency=0)
    handler.drop(made.instance_id, 5.0)
    assert states(handler) == []


@pytest.mark.parametrize("kind", ["observe", "sweep", "logs"])
def test_a_read_that_takes_too_long_is_silence(cloud: Any, calls: Any, clock: Any, kind: str) -> None:
    cloud.set(latency=7)
    before = clock.now
    with pytest.raises(errors.CloudSilent):
        calls[kind]()
    assert clock.now - before == 5.0


def test_stale_lists(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(stale=2)
    made = handler.create(creation())
    clock.sleep(1.9)
    assert states(handler) == []
    assert handler.sweep("infra-1", 5.0) == ()
    assert handler.create(creation()).instance_id == made.instance_id, "tokens are never stale"
    clock.sleep(0.1)
    assert states(handler) == [READY]
    handler.drop(made.instance_id, 5.0)
    clock.sleep(1.9)
    assert states(handler) == [READY], "a stale list still shows it as it was"
    assert len(handler.sweep("infra-1", 5.0)) == 1
    clock.sleep(0.1)
    assert states(handler) == []
    assert handler.sweep("infra-1", 5.0) == ()


def test_stale_adds_to_shutdown_time(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    made = handler.create(creation())
    cloud.set(stale=2, shutdown_time=3)
    handler.drop(made.instance_id, 5.0)
    clock.sleep(4.9)
    assert states(handler) == [SHUTDOWN]
    clock.sleep(0.1)
    assert states(handler) == []


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CALLS)
def test_silent(cloud: Any, calls: Any, kind: str) -> None:
    cloud.set(silent=True)
    with pytest.raises(errors.CloudSilent):
        calls[kind]()
    assert [each.node_id for each in cloud.instances()] == ["there"], "nothing was done"


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(("value", "delay"), [(True, 1.0), (30, 30.0)])
def test_throttled(cloud: Any, calls: Any, kind: str, value: Any, delay: float) -> None:
    cloud.set(throttled=value)
    with pytest.raises(errors.TransientError) as caught:
        calls[kind]()
    assert caught.value.delay == delay
    assert [each.node_id for each in cloud.instances()] == ["there"]


@pytest.mark.parametrize("kind", CALLS)
def test_failure_rate(cloud: Any, calls: Any, kind: str) -> None:
    cloud.set(failure_rate=0.6)  # the dice show 0.5
    with pytest.raises(errors.TransientError) as caught:
        calls[kind]()
    assert type(caught.value) is errors.TransientError
    assert [each.node_id for each in cloud.instances()] == ["there"]
    cloud.set(failure_rate=0.4)
    calls[kind]()


def test_rates_are_drawn_anew_at_each_call(cloud: Any, make_handler: Any) -> None:
    handler = make_handler(random=random.Random(1))
    cloud.set(failure_rate=0.3)
    failed = 0
    for _ in range(300):
        try:
            handler.observe([], 5.0)
        except errors.TransientError:
            failed += 1
    assert 60 < failed < 120


def test_timeout_rate_carries_out_and_does_not_tell(cloud: Any, handler: Any, creation: Any, calls: Any) -> None:
    cloud.set(timeout_rate=1)
    with pytest.raises(errors.OutcomeUnknown):
        handler.create(creation())
    assert states(handler) == [READY], "reads are not struck"
    (instance,) = cloud.instances("n1")
    with pytest.raises(errors.OutcomeUnknown):
        handler.drop(instance.instance_id, 5.0)
    assert cloud.instances("n1") == []
    for kind in ("observe", "sweep", "logs"):
        calls[kind]()


def test_capacity_failure_rate(cloud: Any, handler: Any, creation: Any) -> None:
    cloud.set(capacity_failure_rate=0.6)
    with pytest.raises(errors.CapacityError):
        handler.create(creation())
    assert cloud.instances(alive=False) == []
    cloud.set(capacity_failure_rate=0.4)
    made = handler.create(creation())
    cloud.set(capacity_failure_rate=1)
    assert handler.create(creation()).instance_id == made.instance_id, "what there is needs no room"


def test_quota(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(quota=2, shutdown_time=5)
    first = handler.create(creation("n1"))
    handler.create(creation("n2"))
    with pytest.raises(errors.CapacityError, match="2 instances"):
        handler.create(creation("n3"))
    assert handler.create(creation("n1")).instance_id == first.instance_id
    handler.drop(first.instance_id, 5.0)
    with pytest.raises(errors.CapacityError):
        handler.create(creation("n3"))  # it is still shutting down
    clock.sleep(5)
    handler.create(creation("n3"))
    cloud.set(quota=None)
    handler.create(creation("n4"))


def test_missing_image(cloud: Any, handler: Any, creation: Any) -> None:
    with pytest.raises(errors.PermanentError, match="'missing' does not exist"):
        handler.create(creation(image="missing"))
    assert cloud.instances(alive=False) == []


def test_a_section_that_rendering_broke_is_permanent_and_not_quoted(handler: Any, creation: Any) -> None:
    with pytest.raises(errors.PermanentError, match="image") as caught:
        handler.create(creation(image=["hunter2"]))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- fates ------------------------------------------------------------------------------------------


def test_broken_rate(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(broken_rate=0.6, boot_time=5)
    made = handler.create(creation())
    assert states(handler) == [PENDING]
    clock.sleep(5)
    assert states(handler) == [FAILED]
    handler.drop(made.instance_id, 5.0)
    assert states(handler) == []


def test_hang_rate(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(hang_rate=0.6)
    made = handler.create(creation())
    clock.sleep(1e6)
    assert states(handler) == [PENDING]
    handler.drop(made.instance_id, 5.0)
    assert states(handler) == []


# --- tokens -----------------------------------------------------------------------------------------


def test_tokens_off_makes_twins(cloud: Any, handler: Any, creation: Any) -> None:
    cloud.set(tokens=False)
    made = [handler.create(creation()).instance_id for _ in range(2)]
    assert len(set(made)) == 2
    assert [seen.instance_id for seen in handler.observe(["n1"], 5.0)["n1"]] == made
    cloud.set(tokens=True)
    assert handler.create(creation()).instance_id == made[0]


def test_the_handler_without_tokens_makes_twins_whatever_is_set(cloud: Any, make_handler: Any, creation: Any) -> None:
    handler = make_handler(simulated.SimulatedWithoutTokens)
    assert not handler.traits.idempotent
    assert handler.traits.settle == handler.traits.absence_grace == 3.0
    cloud.set(tokens=True)
    for _ in range(2):
        handler.create(creation(type="simulated_no_tokens"))
    assert len(cloud.instances("n1")) == 2


@pytest.mark.parametrize("listed", [False, True])
def test_a_token_answers_for_what_is_gone(cloud: Any, handler: Any, creation: Any, clock: Any, listed: bool) -> None:
    dropped, killed = handler.create(creation("n1")), handler.create(creation("n2"))
    handler.drop(dropped.instance_id, 5.0)
    cloud.kill("n2", listed=listed)
    clock.sleep(100)
    again = handler.create(creation("n1"))
    assert (again.instance_id, again.state, again.reason.code) == (dropped.instance_id, SHUTDOWN, "terminated")
    again = handler.create(creation("n2"))
    assert (again.instance_id, again.state, again.reason.code) == (killed.instance_id, FAILED, "killed")
    assert cloud.instances() == []


@pytest.mark.parametrize("changed", [{"image": "other"}, {"instance_type": "big"}, {"user_data": "other"}])
def test_strict_tokens(cloud: Any, handler: Any, creation: Any, changed: dict[str, str]) -> None:
    made = handler.create(creation())
    assert handler.create(creation(**changed)).instance_id == made.instance_id
    cloud.set(strict_tokens=True)
    with pytest.raises(errors.PermanentError, match="IdempotentParameterMismatch"):
        handler.create(creation(**changed))
    assert handler.create(creation()).instance_id == made.instance_id


# --- where behaviour comes from ---------------------------------------------------------------------


def test_what_is_set_wins_over_the_configuration(cloud: Any, make_handler: Any, creation: Any) -> None:
    handler = make_handler(behaviour={"boot_time": 5, "quota": 1})
    assert handler.create(creation()).state is PENDING
    cloud.set(quota=None, boot_time=0)
    assert handler.create(creation("n2")).state is READY


def test_accounts_of_one_file_are_apart(path: Any, cloud: Any, make_handler: Any, creation: Any, clock: Any) -> None:
    ours, theirs = make_handler(), make_handler(endpoint="other")
    simulated.SimulatedCloud(path, "other", clock=clock).set(boot_time=9)
    mine, other = ours.create(creation()), theirs.create(creation())
    assert (mine.state, other.state) == (READY, PENDING)
    assert mine.instance_id != other.instance_id
    assert mine.addresses != other.addresses
    ours.drop(other.instance_id, 5.0)
    assert [seen.instance_id for seen in theirs.sweep("infra-1", 5.0)] == [other.instance_id]
    assert cloud.calls() == {"create": 1, "drop": 1}


@pytest.mark.parametrize("wrong", [{"boot_tiem": 1}, {"failure_rate": 1.5}, {"latency": -1}, {"quota": -1}])
def test_wrong_behaviour_is_refused(cloud: Any, make_handler: Any, wrong: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError):
        cloud.set(**wrong)
    with pytest.raises(errors.ConfigurationError, match=next(iter(wrong))):
        make_handler(behaviour=wrong)


@pytest.fixture(autouse=True)
def _no_real_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """All time in this file is the clock's."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("slept"))
