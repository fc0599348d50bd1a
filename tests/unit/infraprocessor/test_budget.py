"""The arithmetic of budgets: never more than the limits, urgent work first, nobody put off for ever."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from occo_celery.model import budget

NOW = 1_800_000_000.0


def spending(**limits: float | int) -> budget.Spending:
    return budget.Spending(budget.Budget(accounts="*", **limits), 0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "account", "fits"),
    [
        ("*", "ec2:x", True),
        ("ec2:*", "ec2:https://ec2.eu-west-1.amazonaws.com:eu-west-1", True),
        ("ec2:*", "docker:unix:///x", False),
        ("docker:unix:///x", "docker:unix:///x", True),
        ("EC2:*", "ec2:x", False),
    ],
)
def test_which_accounts_it_is_of(pattern: str, account: str, fits: bool) -> None:
    assert budget.Budget(accounts=pattern, rate=1).is_of(account) is fits


def test_the_first_that_fits_counts() -> None:
    narrow, wide = budget.Budget(accounts="ec2:a", rate=1), budget.Budget(accounts="*", rate=2)
    assert budget.of("ec2:a", [narrow, wide]) is narrow
    assert budget.of("ec2:b", [narrow, wide]) is wide
    assert budget.of("ec2:b", [narrow]) is None


def test_a_fifth_is_kept_for_what_is_urgent() -> None:
    one = spending(concurrency=10)
    assert [one.spend(NOW, urgent=False) for _ in range(8)] == [None] * 8
    assert one.spend(NOW, urgent=False) is not None
    assert [one.spend(NOW, urgent=True) for _ in range(2)] == [None] * 2
    assert one.spend(NOW, urgent=True) is not None
    one = spending(rate=1.0, burst=10)
    assert [one.spend(NOW, urgent=False) for _ in range(8)] == [None] * 8
    assert one.spend(NOW, urgent=False) is not None
    assert [one.spend(NOW, urgent=True) for _ in range(2)] == [None] * 2
    assert one.spend(NOW, urgent=True) is not None


@pytest.mark.parametrize("limits", [{"concurrency": 2}, {"concurrency": 4}, {"rate": 1.0, "burst": 2}])
def test_one_is_kept_for_what_is_urgent_wherever_there_are_two(limits: dict[str, float]) -> None:
    one = spending(**limits)
    most = int(limits.get("concurrency", 2))
    assert [one.spend(NOW, urgent=False) for _ in range(most - 1)] == [None] * (most - 1)
    assert one.spend(NOW, urgent=False) is not None
    assert one.spend(NOW, urgent=True) is None
    assert one.spend(NOW, urgent=True) is not None


@pytest.mark.parametrize("limits", [{"concurrency": 1}, {"rate": 0.5}, {"concurrency": 4, "rate": 0.5, "burst": 3}])
def test_what_is_urgent_does_not_wait_for_others_that_were_refused(limits: dict[str, float]) -> None:
    alone, crowded = spending(**limits), spending(**limits)
    for one in (alone, crowded):
        while one.spend(NOW, urgent=True) is None:
            pass
        one.refused = one.ahead = 0
    for _ in range(20):
        assert crowded.spend(NOW, urgent=False) is not None
    first, second = (crowded.spend(NOW, urgent=True) for _ in range(2))
    assert (first, second) == (alone.spend(NOW, urgent=True), alone.spend(NOW, urgent=True))
    last = crowded.spend(NOW, urgent=False)
    assert first is not None
    assert second is not None
    assert last is not None
    assert first <= second <= last, "the others wait for what is urgent, too"


def test_the_smallest_budget_lets_everything_through_in_its_time() -> None:
    one = spending(concurrency=1, rate=0.5)
    assert one.spend(NOW, urgent=False) is None
    assert one.spend(NOW, urgent=False) == NOW + 2.0
    one.at_work = 0
    assert one.spend(NOW + 2.0, urgent=False) is None


@hypothesis.given(
    rate=st.floats(0.1, 100), burst=st.integers(1, 50), wants=st.lists(st.tuples(st.floats(0, 5), st.booleans()))
)
def test_no_more_begin_than_rate_and_burst_allow(rate: float, burst: int, wants: list[tuple[float, bool]]) -> None:
    one, now, begun = spending(rate=rate, burst=burst), NOW, []
    for pause, urgent in wants:
        now += pause
        if one.spend(now, urgent=urgent) is None:
            begun.append(now)
    for start in range(len(begun)):
        for end in range(start, len(begun)):
            assert end - start + 1 <= burst + (begun[end] - begun[start]) * rate + 1e-3


@hypothesis.given(
    limits=st.fixed_dictionaries(
        {"concurrency": st.integers(1, 30), "rate": st.floats(0.1, 50), "burst": st.integers(1, 20)}
    ),
    wants=st.lists(st.booleans(), min_size=1, max_size=60),
)
def test_who_comes_when_told_gets_in_at_last(limits: dict[str, float], wants: list[bool]) -> None:
    """Each comes again at the time that it was given; what is at work has ended by then."""
    one, now = spending(**limits), NOW
    waiting = [(NOW, number, urgent) for number, urgent in enumerate(wants)]
    for _ in range(len(wants) * len(wants) + 10):
        if not waiting:
            return
        waiting.sort()
        when, number, urgent = waiting.pop(0)
        if when > now:
            one = budget.Spending(one.budget, 0, one.spent_until)
            now = when
        again = one.spend(now, urgent=urgent)
        if again is not None:
            assert again > now
            waiting.append((again, number, urgent))
    raise AssertionError("somebody never got in")
