"""What `occo doctor` finds, as values. Made by doctor.py, printed by cli/doctor.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from occo_celery.infraprocessor.sweep import Orphan


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, but somebody should look at it
    PROBLEM = "problem"  # something that was asked for is not done
    SKIPPED = "skipped"  # could not be looked at, because of another problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found. check: its name; details: the worst few; remedy: what to do."""

    check: str
    severity: Severity
    sentence: str
    details: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """What the sweep found. count: None where not every account was looked through: there may be more than
    ``found``. foreign: instances under tags of other installations; unanswered: account -> why."""

    count: int | None
    found: tuple[Orphan, ...] = ()
    foreign: int = 0
    unanswered: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    findings: tuple[Finding, ...]
    orphans: Orphans

    @property
    def ok(self) -> bool:
        """No problems; there may be warnings."""
        return self.count(Severity.PROBLEM) == 0

    def count(self, severity: Severity) -> int:
        return sum(one.severity is severity for one in self.findings)
