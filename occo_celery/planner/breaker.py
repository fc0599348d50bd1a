"""The breaker of a cloud account: when many of its instances fail at once, healing waits for a second look. Pure.

Many failures at the same moment are more often the account's (an outage of its API, a network, a wrong key) than the
instances'; replacing all of them at once would make it worse. Called by enactor/passes.py, across infrastructures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from occo_celery.model.account import Standing
from occo_celery.model.instance import Instance, Lifecycle
from occo_celery.model.status import LOST, Reason

#: Failures within so many seconds count as at once; a breaker that has let healing go on does so for as long.
WINDOW = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """share: of an account's instances, and least: how many of them, must fail at once. delay: seconds until the
    second look."""

    share: float = 0.3
    least: int = 5
    delay: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """held: accounts on which healing waits now, with the reason. opened: those whose breaker opens just now."""

    held: Mapping[str, Reason]
    opened: Collection[str]


def lost(instances: Iterable[Instance]) -> list[Instance]:
    """Those that would be replaced."""
    return [one for one in instances if one.lifecycle is Lifecycle.RUNNING and one.status in LOST]


def enough(losses: int, policy: Policy) -> int:
    """Up to how many instances of an account have to be counted to judge so many losses: with as many, or more, they
    are not more than the share."""
    if losses < policy.least or not policy.share:
        return 0
    return int(losses / policy.share) + 1


def judge(
    instances: Iterable[Instance], standings: Mapping[str, Standing], policy: Policy, *, asked: float, now: float
) -> Judgement:
    """Which accounts' healing waits.

    instances: as assessed now, of all infrastructures that this pass is about; those that are newly lost are not in
    the standings yet (their lost_at is now). asked, now: as of assess; a look that began before the breaker had been
    open for its delay is no second look.
    """
    fresh = Counter(one.account for one in lost(instances) if one.lost_at == now)
    held, opened = {}, set()
    for account, standing in standings.items():
        losses = standing.losses + fresh[account]
        since = standing.breaker_at
        if since is None or since <= now - WINDOW:
            if losses < policy.least or losses <= policy.share * standing.instances:
                continue
            since = now
            opened.add(account)
        if asked < since + policy.delay:
            held[account] = Reason(
                code="healing_waits",
                arguments={"account": account, "detail": "many of its instances failed at once", "since": since},
            )
    return Judgement(held=held, opened=opened)


def hold(before: Instance, now_is: Instance, held: Mapping[str, Reason], *, now: float) -> Instance:
    """The instance, with the reason why it is not replaced yet if it is lost and its account is held."""
    reason = held.get(now_is.account or "")
    if reason is None or not lost([now_is]):
        return now_is
    last = now_is.reason.arguments["last"] if now_is.reason.code == reason.code else now_is.reason.text()
    reason = replace(reason, arguments={**reason.arguments, "last": last}, since=now)
    return replace(now_is, reason=before.reason if reason.same(before.reason) else reason)
