"""What a Docker daemon and its SDK say, sorted into our errors: refused, no room, not known, silent, never.

Called by docker.py and docker_images.py around every call. Docker has few codes: what it lacks (disk, memory,
addresses) and what a registry answered are known by the daemon's words alone, as of Docker Engine 20.10 to 29.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import urllib3.exceptions
from docker import errors as docker_errors
from requests import exceptions

from occo_celery import errors
from occo_celery.plugins.resourcehandler import hiding

#: Characters of the daemon's words that are kept.
LONGEST = 500

#: No room here: another implementation may have it.
NO_ROOM = (
    "no space left on device",
    "cannot allocate memory",
    "no available ipv4 addresses",
    "non-overlapping ipv4 address pool",
    "all predefined address pools have been fully subnetted",
)
#: An image that a registry has not, or not for us.
NO_IMAGE = (
    "not found",
    "manifest unknown",
    "access denied",
    "denied:",
    "unauthorized",
    "no basic auth credentials",
    "invalid reference format",
    "no matching manifest",
    "does not exist",
)
#: A registry that wants to be asked less often, and for how long it is left alone then, seconds.
THROTTLED, PAUSE = ("toomanyrequests", "too many requests"), 60.0

#: Of a network_mode that there is not; some versions answer 404, some 500.
_NO_NETWORK = re.compile(r"network \S+ not found")

#: Trouble before the request was sent, somewhere in the chain of causes.
_NOT_SENT = (
    ConnectionRefusedError,
    FileNotFoundError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
)


@contextmanager
def translated(*, write: bool, secrets: Iterable[str] = (), begun: bool = False) -> Iterator[None]:
    """Errors of the SDK as ours. write: the call makes or ends something; secrets: texts that no message may have;
    begun: something was made already, so that whatever goes wrong now leaves its outcome unknown."""
    try:
        yield
    except (exceptions.RequestException, docker_errors.DockerException) as caught:
        problem = _told(caught)
        words = _words(problem)
        shown = hiding.without(words, secrets)
        kind = errors.OutcomeUnknown if begun else _kind(problem, words, write)
        raise kind(_explained(problem, shown)[:LONGEST]) from (problem if shown == words else None)


def refused(problem: docker_errors.APIError, secrets: Iterable[str]) -> errors.ResourceError:
    """The error of ours for an answer after which nothing was left behind."""
    words = said(problem)
    shown = hiding.without(words, secrets)[:LONGEST]
    if any(part in words.lower() for part in NO_ROOM):
        return errors.CapacityError(shown)
    never = (problem.status_code or 500) < 500 or _NO_NETWORK.search(words)
    return errors.PermanentError(shown) if never else errors.TransientError(shown)


def of_image(words: str, secrets: Iterable[str] = ()) -> errors.ResourceError:
    """What the daemon said of an image that it could not get, as an error of ours."""
    said, shown = words.lower(), hiding.without(words, secrets)[:LONGEST]
    if any(part in said for part in THROTTLED):
        return errors.TransientError(shown, delay=PAUSE)
    if any(part in said for part in NO_ROOM):
        return errors.CapacityError(shown)
    return errors.PermanentError(shown) if any(part in said for part in NO_IMAGE) else errors.TransientError(shown)


def said(problem: BaseException) -> str:
    """The daemon's own words, or the SDK's."""
    return _words(_told(problem))


def _told(problem: BaseException) -> BaseException:
    """The SDK wraps what goes wrong while it asks for the daemon's version."""
    cause = problem.__cause__
    wrapped = type(problem) is docker_errors.DockerException and isinstance(cause, exceptions.RequestException)
    return cause if wrapped and cause is not None else problem


def _words(problem: BaseException) -> str:
    return str(getattr(problem, "explanation", None) or problem)


def _kind(problem: BaseException, words: str, write: bool) -> type[errors.ResourceError]:
    """The error of ours that says what may have happened."""
    unanswered = errors.OutcomeUnknown if write else errors.CloudSilent
    if isinstance(problem, docker_errors.APIError):
        if any(part in words.lower() for part in NO_ROOM):
            return errors.CapacityError
        if problem.status_code == 429:
            return errors.TransientError
        return unanswered if (problem.status_code or 500) >= 500 else errors.PermanentError
    if not isinstance(problem, exceptions.RequestException):
        return errors.PermanentError  # the SDK refused what it was told
    if _is_forbidden(problem):
        return errors.PermanentError
    if any(isinstance(cause, _NOT_SENT) for cause in _causes(problem)):
        return errors.TransientError if write else errors.CloudSilent
    wrong = isinstance(problem, (exceptions.InvalidURL, exceptions.MissingSchema, exceptions.InvalidSchema))
    return errors.PermanentError if wrong else unanswered


def _explained(problem: BaseException, words: str) -> str:
    if _is_forbidden(problem):
        return f"the worker may not use the daemon's socket, its user is not in its group: {words}"
    return words


def _is_forbidden(problem: BaseException) -> bool:
    return any(isinstance(cause, PermissionError) for cause in _causes(problem))


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
