"""The breaker judges by as many instances as matter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from occo_celery.model.account import Standing
from occo_celery.model.status import NodeStatus
from occo_celery.planner import breaker
from tests.unit.planner import making

NOW = 5000.0
POLICIES = st.builds(
    breaker.Policy, share=st.sampled_from([0.0, 0.1, 0.3, 1 / 3, 0.5, 0.7, 1.0]), least=st.integers(0, 6)
)


@given(POLICIES, st.integers(0, 12), st.integers(1, 5), st.integers(0, 60))
def test_counting_no_further_changes_no_judgement(
    policy: breaker.Policy, losses: int, fresh: int, instances: int
) -> None:
    lost = [
        making.an_instance(number, "a", "ready", account="one", status=NodeStatus.FAILED, lost_at=NOW)
        for number in range(fresh)
    ]
    counted = min(instances, breaker.enough(losses + fresh, policy))
    judgements = [
        breaker.judge(lost, {"one": Standing(instances=there, losses=losses)}, policy, asked=NOW, now=NOW)
        for there in (instances, counted)
    ]
    assert judgements[0] == judgements[1]


def test_a_look_that_began_before_the_delay_is_no_second_look() -> None:
    """However late it is judged."""
    lost = [making.an_instance(1, "a", "ready", account="one", status=NodeStatus.FAILED, lost_at=NOW - 40.0)]
    standings = {"one": Standing(instances=10, losses=9, breaker_at=NOW - 31.0)}
    policy = breaker.Policy(share=0.3, least=5, delay=30.0)
    for asked, held in ((NOW - 2.0, {"one"}), (NOW - 0.5, set())):
        assert breaker.judge(lost, standings, policy, asked=asked, now=NOW).held.keys() == held


def test_few_losses_need_no_count() -> None:
    assert breaker.enough(4, breaker.Policy(share=0.3, least=5)) == 0
    assert breaker.enough(6, breaker.Policy(share=0.3, least=5)) == 21
