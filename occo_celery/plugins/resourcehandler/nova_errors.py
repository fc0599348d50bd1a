"""What OpenStack's services and SDK say, sorted into our errors: refused, no room, not known, silent, never.

Called by nova_client.py around every call. Sources: "Faults" in the Compute API guide, the Networking API reference,
and the words of Nova's and Neutron's quotas: both have one status for them and for what is forbidden or in conflict.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import requests.exceptions
import urllib3.exceptions
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from occo_celery import errors
from occo_celery.plugins.resourcehandler import hiding, retry_after

#: Characters of the cloud's words that are kept.
LONGEST = 500

#: Of 403 and 409: no room, or none left of what the project is granted; another implementation may have it.
NO_ROOM = (
    "quota exceeded",
    "exceeded for resources",
    "no more ip addresses",
    "maximum number of ports exceeded",
    "not enough",
)
#: Of 409: what a request by these words will never get.
NEVER = ("multiple possible networks",)
#: Later is better.
THROTTLED = frozenset({413, 429})

#: Trouble before a request was sent, somewhere in the chain of causes.
_NOT_SENT = (
    requests.exceptions.ConnectTimeout,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
)


class Unanswered(Exception):
    """A request had no answer. before: nothing that it asked for can have been done."""

    def __init__(self, words: str, *, before: bool) -> None:
        super().__init__(words)
        self.before = before


@contextmanager
def translated(*, write: bool, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Errors of the SDK as ours. write: the call makes or ends something; secrets: texts that no message may have."""
    try:
        yield
    except (Unanswered, sdk.SDKException, keystone.ClientException) as problem:
        told = _words(problem)
        shown = hiding.without(told, secrets)
        raise _sorted(problem, told, shown[:LONGEST], write) from (problem if shown == told else None)


def was_not_sent(problem: BaseException | None) -> bool:
    """Did it happen before the request was sent? requests wraps urllib3's errors, keystoneauth those of requests."""
    while problem is not None:
        inner = problem.args[0] if problem.args else None
        if isinstance(getattr(inner, "reason", None), _NOT_SENT) or isinstance(problem, _NOT_SENT):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _sorted(problem: Exception, told: str, words: str, write: bool) -> errors.ResourceError:
    """The error of ours that says what may have happened. told: what it goes by; words: what is shown of it."""
    told = told.lower()
    if isinstance(problem, Unanswered):
        return _unanswered(words, write, problem.before)
    if isinstance(problem, (keystone.HttpError, keystone.DiscoveryFailure)):
        # of Keystone, or of the services' lists of versions: what we wanted was not even asked for
        status = getattr(problem, "http_status", 500)
        if status in THROTTLED:
            return errors.TransientError(words, delay=_delay(problem))
        return _unanswered(words, write, True) if status >= 500 else errors.PermanentError(words)
    status = getattr(problem, "status_code", None)
    if not isinstance(status, int):
        return errors.PermanentError(words)  # the SDK refused what it was told, or the catalog lacks a service
    if status in THROTTLED:
        return errors.TransientError(words, delay=_delay(problem))
    if status >= 500:
        return _unanswered(words, write, False)
    if status in (403, 409) and any(part in told for part in NO_ROOM):
        return errors.CapacityError(words)
    if status == 409 and not any(part in told for part in NEVER):
        return errors.TransientError(words)  # it is in a state, or held by a lock, that may pass
    return errors.PermanentError(words)


def _unanswered(words: str, write: bool, before: bool) -> errors.ResourceError:
    if not write:
        return errors.CloudSilent(words)
    return errors.TransientError(words) if before else errors.OutcomeUnknown(words)


def _words(problem: Exception) -> str:
    """The service's own words, where it has said any."""
    details = getattr(problem, "details", None)
    status = getattr(problem, "status_code", None) or getattr(problem, "http_status", None)
    return f"{status}: {details}" if details and status else str(problem) or type(problem).__name__


def _delay(problem: Exception) -> float | None:
    """Seconds, where the answer has a Retry-After."""
    headers = getattr(getattr(problem, "response", None), "headers", {})
    return retry_after.seconds(headers.get("Retry-After"), time.time())
