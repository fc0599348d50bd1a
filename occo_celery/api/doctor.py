"""Examines an installation: database, broker, programs, rows, accounts, and what its clouds list. Changes nothing.

Called by cli/doctor.py. Pure of printing; see examination.py for what comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass

import sqlalchemy as sa

from occo_celery import errors, wiring
from occo_celery.api.examination import Examination, Finding, Orphans, Severity
from occo_celery.infraprocessor import sweep as sweeps
from occo_celery.model import instance
from occo_celery.plugins import unexpected
from occo_celery.uds import accounts, programs, trouble, version

log = logging.getLogger(__name__)

#: The kinds of programs that an installation needs, and how each is started.
PROGRAMS = {
    "passes": "occo worker passes",
    "instructions": "occo worker instructions",
    "beat": "occo beat",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When something is called trouble. Seconds, but for attempts and few (how many are named).

    overdue: since it was to happen; expired: since a lease ran out; silent: since a program last said that it
    lives; breaker: since it opened; offset: between two clocks.
    """

    overdue: float = 30.0
    expired: float = 60.0
    silent: float = 30.0
    breaker: float = 600.0
    offset: float = 1.0
    attempts: int = 5
    few: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One examination under way."""

    connection: sa.Connection
    now: float
    limits: Limits


def examine(system: wiring.System, *, sweep: bool = True, limits: Limits | None = None) -> Examination:
    """Look at everything. sweep: also look through every cloud account that was ever used, which may take as long
    as a call to a cloud may."""
    findings = [_schema(system), _broker(system)]
    if findings[0].severity is not Severity.OK:
        findings += [_skipped(check) for check in (*CHECKS, "orphans")]
        return Examination(findings=tuple(findings), orphans=Orphans(count=None))
    with system.store.read() as connection:
        look = _Round(connection=connection, now=system.now(), limits=limits or Limits())
        for check in CHECKS.values():
            findings += check(look)
        known = accounts.known(connection)
    orphans = _sweep(system, known) if sweep else Orphans(count=None)
    findings.append(_orphans(orphans, (limits or Limits()).few, swept=sweep))
    return Examination(findings=tuple(findings), orphans=orphans)


def _schema(system: wiring.System) -> Finding:
    try:
        at = version.check(system.store)
    except errors.SchemaVersionError as problem:
        return _finding("schema", Severity.PROBLEM, str(problem))
    except errors.StoreError as problem:
        return _finding("schema", Severity.PROBLEM, str(problem), remedy="is it running? components.uds names it")
    return _finding("schema", Severity.OK, f"the database is of version {at}, as it should be")


def _skipped(check: str) -> Finding:
    return _finding(check, Severity.SKIPPED, "not looked at: the database cannot be used")


def _broker(system: wiring.System) -> Finding:
    try:
        system.send.check()
    except errors.BrokerUnavailable as problem:
        return _finding("broker", Severity.PROBLEM, str(problem))
    return _finding("broker", Severity.OK, "the broker answers")


# --- programs --------------------------------------------------------------------------------------------------


def _programs(look: _Round) -> Iterator[Finding]:
    known = programs.known(look.connection)
    for kind, command in PROGRAMS.items():
        mine = [one for one in known if one.kind == kind]
        living = [one for one in mine if look.now - one.seen_at <= look.limits.silent]
        what = "beat" if kind == "beat" else f"worker on the queue {kind}"
        if living:
            yield _finding("programs", Severity.OK, f"{what}: {len(living)} alive")
            continue
        last = f"; the last one, {mine[0].program_id}, was seen {_ago(look.now - mine[0].seen_at)}" if mine else ""
        yield _finding("programs", Severity.PROBLEM, f"no live {what}{last}", remedy=command)


def _clocks(look: _Round) -> Iterator[Finding]:
    living = [one for one in programs.known(look.connection) if look.now - one.seen_at <= look.limits.silent]
    off = sorted(
        (one for one in living if abs(one.clock_offset) > look.limits.offset), key=lambda one: -abs(one.clock_offset)
    )
    if not off:
        yield _finding("clocks", Severity.OK, "the clocks of all programs are those of the database")
        return
    yield _finding(
        "clocks",
        Severity.WARNING,
        f"{_count(len(off), 'program runs', 'programs run')} on a host whose clock differs from the database's",
        details=[f"{one.program_id}: {-one.clock_offset:+.1f} s" for one in off[: look.limits.few]],
        remedy="set the clocks by NTP",
    )


# --- rows ------------------------------------------------------------------------------------------------------


def _overdue(look: _Round) -> Iterator[Finding]:
    found = trouble.overdue(look.connection, now=look.now, patience=look.limits.overdue, few=look.limits.few)
    yield _late("overdue", found, "nothing is overdue", "overdue", "are beat and the workers running?")


def _leases(look: _Round) -> Iterator[Finding]:
    found = trouble.expired(look.connection, now=look.now, patience=look.limits.expired, few=look.limits.few)
    remedy = "beat has them taken over; is it running?"
    yield _late("leases", found, "no lease has expired", "held by nobody alive", remedy)


def _late(check: str, found: trouble.Found, well: str, ill: str, remedy: str) -> Finding:
    if not found.count:
        return _finding(check, Severity.OK, well)
    details = [f"{one.what} of {one.infra_id}: for {one.seconds:.0f} s" for one in found.worst]
    sentence = f"{_count(found.count, 'row is', 'rows are')} {ill}"
    return _finding(check, Severity.PROBLEM, sentence, details=details, remedy=remedy)


def _passes(look: _Round) -> Iterator[Finding]:
    found = trouble.errors(look.connection, few=look.limits.few)
    if not found.count:
        yield _finding("passes", Severity.OK, "no pass ended in an error")
        return
    yield _finding(
        "passes",
        Severity.PROBLEM,
        f"the last pass of {_count(found.count, 'infrastructure', 'infrastructures')} ended in an error",
        details=[f"{one.name} ({one.infra_id}): {one.error}" for one in found.worst],
        remedy="the log of the passes worker has the traceback",
    )


def _operations(look: _Round) -> Iterator[Finding]:
    found = trouble.failing(look.connection, attempts=look.limits.attempts, few=look.limits.few)
    if not found.count:
        yield _finding("operations", Severity.OK, "no instruction fails again and again")
        return
    retries = dict.fromkeys(f"occo retry {one.infra_id}" for one in found.worst)
    yield _finding(
        "operations",
        Severity.PROBLEM,
        f"{_count(found.count, 'instruction fails', 'instructions fail')} again and again, or wait for a change",
        details=[_failing(one) for one in found.worst],
        remedy=f"mend the cause, then: {'; '.join(retries)}",
    )


def _failing(one: instance.Operation) -> str:
    reason = one.reason.text() if one.reason is not None else "no reason is known"
    waits = "waits for a change" if one.retry_at is None else f"{one.attempts} attempts"
    return f"{one.kind} {one.node_name} ({one.target}) of {one.infra_id}: {waits}: {reason}"


# --- accounts --------------------------------------------------------------------------------------------------


def _accounts(look: _Round) -> Iterator[Finding]:
    every = accounts.known(look.connection)
    # Only passes ask; one that nobody has asked for long is as good as unknown, and the sweep asks anyway.
    silent = [
        one for one in every if one.silent_until is not None and one.silent_until > look.now - look.limits.silent
    ]
    if silent:
        yield _finding(
            "accounts",
            Severity.PROBLEM,
            f"{_count(len(silent), 'account does', 'accounts do')} not answer",
            details=[f"{one.account}: {one.reason or 'no answer'}" for one in silent[: look.limits.few]],
            remedy="instances there are left alone; passes ask again by themselves",
        )
    open_ = [one for one in every if one.breaker_at is not None and look.now - one.breaker_at <= look.limits.breaker]
    if open_:
        yield _finding(
            "accounts",
            Severity.WARNING,
            f"many instances of {_count(len(open_), 'account', 'accounts')} failed at once; healing waited there",
            details=[f"{one.account}: {_ago(look.now - (one.breaker_at or 0))}" for one in open_[: look.limits.few]],
            remedy="look at the cloud; healing goes on by itself",
        )
    if not silent and not open_:
        yield _finding("accounts", Severity.OK, "every account that was asked answers")


# --- orphans ---------------------------------------------------------------------------------------------------


def _sweep(system: wiring.System, known: Sequence[accounts.Account]) -> Orphans:
    """Every account at the same time: one that is slow costs the others nothing."""
    used = {one.account: one.implementation for one in known if one.implementation is not None}
    looks: list[sweeps.Look] = []
    unanswered: dict[str, str] = {}
    with futures.ThreadPoolExecutor(max_workers=max(1, min(32, len(used)))) as pool:
        asked = {name: pool.submit(system.sweeper.look, name, section) for name, section in used.items()}
        for name, future in asked.items():
            try:
                looks.append(future.result())
            except errors.OccoError as problem:
                unanswered[name] = str(problem)
            except Exception as problem:  # noqa: BLE001  # logged without its words
                kind = unexpected.logged(log, f"account {name}: looking through it", problem)
                unanswered[name] = f"{kind}; the log says where"
    # Two names may lead to the same cloud account.
    found = {(one.instance_id, one.node_id): one for look in looks for one in look.orphans}
    return Orphans(
        count=None if unanswered else len(found),
        found=tuple(found.values()),
        foreign=sum(look.foreign for look in looks),
        unanswered=unanswered,
    )


def _orphans(orphans: Orphans, few: int, *, swept: bool) -> Finding:
    if not swept:
        return _finding("orphans", Severity.SKIPPED, "not looked for")
    if orphans.count == 0:
        return _finding("orphans", Severity.OK, "every instance that the clouds list is on the books")
    details = [
        f"{one.instance_id} on {one.account}: {one.node_name or 'node'} {one.node_id} of {one.infra_id}, {one.state}"
        for one in orphans.found[:few]
    ]
    details += [f"{name}: {why}" for name, why in (orphans.unanswered or {}).items()]
    parts = []
    if orphans.found:
        parts.append(f"{_count(len(orphans.found), 'instance is', 'instances are')} on no books")
    if orphans.unanswered:
        parts.append(f"{_count(len(orphans.unanswered), 'account', 'accounts')} could not be looked through")
    remedy = "the sweep of the accounts drops what it sees twice" if orphans.found else ""
    return _finding("orphans", Severity.PROBLEM, "; ".join(parts), details=details, remedy=remedy)


#: What is read from the database, in the order in which it is told.
CHECKS: dict[str, Callable[[_Round], Iterator[Finding]]] = {
    "programs": _programs,
    "clocks": _clocks,
    "overdue": _overdue,
    "leases": _leases,
    "passes": _passes,
    "operations": _operations,
    "accounts": _accounts,
}


def _finding(
    check: str, severity: Severity, sentence: str, *, details: Sequence[str] = (), remedy: str = ""
) -> Finding:
    return Finding(check=check, severity=severity, sentence=sentence, details=tuple(details), remedy=remedy)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
