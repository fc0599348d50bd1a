"""Makes all health checks of a pass, many at once, each within its limit and all within a deadline.

Called by enactor/observe.py. What could not be asked is never a ground to replace anything: UNKNOWN.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import resource
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.healthcheck import base

log = logging.getLogger(__name__)

#: The order in which checks are reported; others follow by name.
ORDER = ("ping", "ports", "urls", "mysqldbs")
#: Checks at once: a thousand that all take the usual limit of 2 s end within the usual deadline of 5 s.
CONCURRENCY = 500
#: Keys of the section that are not checks.
NOT_CHECKS = frozenset({"timeout"})
#: Seconds that a check has beyond its limit to say so itself.
GRACE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An instance to ask, and the ``health_check`` section of its implementation."""

    target: base.Target
    section: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Unit:
    """One question: a check, or one element of its list."""

    node_id: str
    position: int
    name: str
    value: Any
    target: base.Target


_Answer = status.Finding | None


def examine_all(
    jobs: Sequence[Job],
    checks: Mapping[str, base.HealthCheck],
    *,
    limit: float,
    deadline: float,
    concurrency: int = CONCURRENCY,
) -> dict[str, status.Finding | None]:
    """examine() from code that has no event loop. One is not made for nothing."""
    if not any(True for job in jobs for _ in _units(job, checks)):
        return {job.target.node_id: None for job in jobs}

    async def main() -> dict[str, status.Finding | None]:
        # as many threads as checks, if need be: no check must look late because others are
        threads = _Unwaited(max_workers=concurrency, thread_name_prefix="health")
        asyncio.get_running_loop().set_default_executor(threads)
        return await examine(jobs, checks, limit=limit, deadline=deadline, concurrency=concurrency)

    return asyncio.run(main())


async def examine(
    jobs: Sequence[Job],
    checks: Mapping[str, base.HealthCheck],
    *,
    limit: float,
    deadline: float,
    concurrency: int = CONCURRENCY,
) -> dict[str, status.Finding | None]:
    """By node_id: None when all checks are well, else TEMP_FAILED with the first that fails, else UNKNOWN.

    limit: seconds of one check; deadline: seconds of all together; concurrency: how many at once.
    """
    units = [unit for job in jobs for unit in _units(job, checks)]
    waiting = units.copy()
    random.shuffle(waiting)  # when the deadline cuts some off, not always the same ones
    found: dict[_Key, _Answer] = {}

    async def work() -> None:
        while waiting:
            unit = waiting.pop()
            found[_key(unit)] = await _ask(unit, checks[unit.name], limit)

    workers = [asyncio.create_task(work()) for _ in range(min(_room(concurrency), len(units)))]
    if workers:
        try:
            await asyncio.wait(workers, timeout=deadline)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    late = _unknown("not asked within the time of a pass")
    results: dict[str, status.Finding | None] = {job.target.node_id: None for job in jobs}
    for unit in units:
        answer = found.get(_key(unit), late)
        results[unit.node_id] = status.worst(one for one in (results[unit.node_id], answer) if one is not None)
    return results


_Key = tuple[str, str, int]


def _key(unit: _Unit) -> _Key:
    return unit.node_id, unit.name, unit.position


def asks(section: Mapping[str, Any], checks: Mapping[str, base.HealthCheck]) -> bool:
    """Does a ``health_check`` section ask anything of an instance?"""
    nobody = base.Target(node_id="", addresses=(), names={})
    return any(True for _ in _units(Job(target=nobody, section=section), checks))


def _units(job: Job, checks: Mapping[str, base.HealthCheck]) -> Iterator[_Unit]:
    """The questions of a job in the order in which they are reported."""
    for name in sorted(checks, key=lambda one: (ORDER.index(one) if one in ORDER else len(ORDER), one)):
        value = job.section.get(name, checks[name].default)
        if value is False:  # turned off
            continue
        values = [[one] for one in value] if isinstance(value, list | tuple) else [value]
        for position, one in enumerate(values):
            yield _Unit(job.target.node_id, position, name, one, job.target)


async def _ask(unit: _Unit, check: base.HealthCheck, limit: float) -> _Answer:
    try:
        async with asyncio.timeout(limit + GRACE):
            reason = await check.check(unit.value, unit.target, limit)
    except errors.ResourceError as problem:
        return _unknown(str(problem), unit.name)
    except TimeoutError:
        return _unknown("no answer within its limit", unit.name)
    except Exception as problem:  # noqa: BLE001  # logged without its words
        # They may be of what was rendered, and that may hold secrets.
        kind, where = type(problem).__name__, "".join(traceback.format_tb(problem.__traceback__))
        log.error("the health check %s of %s failed: %s, at\n%s", unit.name, unit.node_id, kind, where)
        return _unknown(f"{kind} in the check", unit.name)
    return None if reason is None else status.Finding(status=status.NodeStatus.TEMP_FAILED, reason=reason)


def _unknown(detail: str, check: str | None = None) -> status.Finding:
    arguments = {"detail": detail} if check is None else {"check": check, "detail": detail}
    return status.Finding(
        status=status.NodeStatus.UNKNOWN, reason=status.Reason(code="not_checked", arguments=arguments)
    )


def _room(concurrency: int) -> int:
    """How many checks may run at once: half of the files that this process may still open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return concurrency
    try:
        opened = len(os.listdir("/proc/self/fd"))
    except OSError:  # not Linux
        opened = 64
    return max(1, min(concurrency, (soft - opened) // 2))


class _Unwaited(futures.ThreadPoolExecutor):
    """Resolves names, and makes checks that block. Nobody waits for it at the end: what is silent must not outlast
    the deadline."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)
