"""The exception tree. Every error that a user can see is one of these; Occopus' names are kept.

Called by everybody, imports nobody. SDK and library errors are translated at the boundary where they
appear and chained with ``from``, so that the core knows only two kinds of cloud trouble: that which
may pass (TransientError and its children) and that which will not (PermanentError).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OccoError(Exception):
    """Base of all errors of occo_celery. Its text is one clear message for a person."""


# --- what the user asked for cannot be done --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a text of the user's.

    file, line and column (both counted from 1) are None where the text did not come from YAML;
    path is the place in the document (``nodes[2].scaling.min``), hint the way out, if one is known.
    """

    message: str
    path: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place = f"{place}:{self.line}:{self.column}" if place else f"{self.line}:{self.column}"
        head = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{head} ({self.hint})" if self.hint else head


class SchemaError(OccoError):
    """A description or definition is wrong; ``problems`` holds every problem found, in document order."""

    #: How many problems the message spells out; the rest is counted.
    SHOWN = 50

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[: self.SHOWN]]
        if len(self.problems) > self.SHOWN:
            lines.append(f"... and {len(self.problems) - self.SHOWN} more")
        super().__init__("\n".join(lines))


class InfrastructureIDNotFoundException(OccoError, KeyError):
    """The infrastructure is not known, or not managed where that was asked for."""

    __str__ = Exception.__str__  # KeyError would show the repr


class InfrastructureIDTakenException(OccoError):
    """The infrastructure is already being managed."""


class InfrastructureManagedError(OccoError, ValueError):
    """tear_down of an infrastructure that is still being maintained; detach it first."""


class InfrastructureSuspendedError(OccoError, ValueError):
    """suspend of what is suspended, or resume of what is not."""


class NodeNotFoundException(OccoError, KeyError):
    """The infrastructure has no such node, or no such instance that the act is possible on."""

    __str__ = Exception.__str__  # KeyError would show the repr


class ScalingError(OccoError, ValueError):
    """A node cannot have so many instances; the message gives its limits."""


class UpdateError(OccoError, ValueError):
    """The new description cannot take the place of the old one."""


class StillRunning(OccoError):
    """Detached, but instructions that had begun were not over when the waiting time passed."""

    def __init__(self, infra_id: str, instructions: Sequence[str], waited: float) -> None:
        self.instructions = tuple(instructions)
        super().__init__(
            f"infrastructure {infra_id} is detached, nothing new will start, but after {waited:g} s this is "
            f"still being finished: {', '.join(self.instructions)}; it goes on by itself"
        )


class WaitTimeout(OccoError, TimeoutError):
    """What was waited for did not come about in the time given; it may still."""


# --- the installation is not as it should be -------------------------------------------------------


class ConfigurationError(OccoError):
    """The configuration file is wrong."""


class MissingConfigurationError(ConfigurationError):
    """The configuration lacks items; the message names them."""


class StoreError(OccoError):
    """The database of the UDS cannot be used."""


class StoreUnavailable(StoreError):
    """The database does not answer."""


class SchemaVersionError(StoreError):
    """The database has tables of another version; ``occo db upgrade`` is the usual way out."""


class BrokerUnavailable(OccoError):
    """The message broker does not answer. Nothing is lost: beat sends again what SQL asks for."""


class PluginError(OccoError):
    """No plugin of that name, or it cannot be loaded; the message names the extra to install."""


# --- what clouds, config managers and checks answer ------------------------------------------------


class ResourceError(OccoError):
    """A call to a cloud or config manager did not succeed. The text keeps the cloud's own words."""


class TransientError(ResourceError):
    """The call was refused, nothing was made or changed, and it may succeed later.

    delay: seconds to wait at least, where the cloud asked for it.
    """

    def __init__(self, message: str, *, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class NotYet(TransientError):
    """Nothing was made yet: what it needs is being prepared (an image on its way). No failure: asked again after
    ``delay``."""


class CapacityError(TransientError):
    """No capacity or quota here: the next implementation should be tried."""


class OutcomeUnknown(TransientError):
    """The call was sent and may have been, or may yet be, carried out: time-out, broken connection."""


class CloudSilent(TransientError):
    """The account does not answer (or cannot be seen from this host): no answer, so nothing is known."""


class PermanentError(ResourceError):
    """The call will never succeed as it is: wrong image, bad key, no permission."""


class TemplateError(PermanentError):
    """A template cannot be rendered; the message names the template, its line and the name."""
