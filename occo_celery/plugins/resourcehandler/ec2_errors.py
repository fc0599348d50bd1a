"""What EC2 and its SDK say, sorted into our errors: refused, no room, not known, silent, never.

Called by ec2.py around every call. Source of the codes, and of what a request may have done that failed: Amazon EC2
Developer Guide, "Error codes for the Amazon EC2 API", "Request throttling for the Amazon EC2 API" and "Ensuring
idempotency in Amazon EC2 API requests".
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from botocore import exceptions, parsers

from occo_celery import errors
from occo_celery.plugins.resourcehandler import hiding, retry_after

#: Characters of the cloud's words that are kept.
LONGEST = 500

#: Refused before anything was done, and it may pass.
REFUSED = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConcurrentTagAccess",
        "EC2ThrottledException",
        "IdempotentParameterMismatch",  # of what the token made nothing is listed, which may be for a while only
        "IncorrectInstanceState",
        "PendingVerification",
        "RequestExpired",  # somebody's clock is off
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "Unavailable",
    }
)

#: No room, or none left of what the account is granted: another implementation may have it.
NO_ROOM = frozenset(
    {
        "AddressLimitExceeded",
        "InstanceLimitExceeded",
        "InsufficientAddressCapacity",
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientVolumeCapacity",
        "MaxIOPSLimitExceeded",
        "NetworkInterfaceLimitExceeded",
        "PrivateIpAddressLimitExceeded",
        "ReservationCapacityExceeded",
        "ResourceLimitExceeded",
        "VcpuLimitExceeded",
        "VolumeLimitExceeded",
    }
)

#: The token has been used: for another request, or for an instance that has been terminated since.
TOKEN_USED = frozenset({"IdempotentInstanceTerminated", "IdempotentParameterMismatch"})

#: No such instance. Ids come from EC2, so that one which it does not take for an id at all is not there either.
NO_INSTANCE = frozenset({"InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound"})

#: Trouble before the request was sent.
NOT_SENT = (
    exceptions.ConnectTimeoutError,
    exceptions.EndpointConnectionError,
    exceptions.ProxyConnectionError,
)

#: Trouble after it may have been sent, and answers that are none.
UNANSWERED = (exceptions.HTTPClientError, exceptions.IncompleteReadError, parsers.ResponseParserError)


#: All that boto3 raises on purpose.
_PROBLEMS = (exceptions.ClientError, exceptions.BotoCoreError, parsers.ResponseParserError)


def code_of(problem: exceptions.ClientError) -> str:
    """The error code; in places EC2 writes ``Server.`` or ``Client.`` before it."""
    code = str(problem.response.get("Error", {}).get("Code", ""))
    return code.removeprefix("Server.").removeprefix("Client.")


@contextmanager
def translated(*, write: bool, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Errors of boto3 as ours. write: the call makes or ends something; secrets: texts that no message may have."""
    try:
        yield
    except _PROBLEMS as problem:
        told = _words(problem)
        shown = hiding.without(told, secrets)
        tells_more = shown != told or isinstance(problem, exceptions.ParamValidationError)
        raise _sorted(problem, shown[:LONGEST], write) from (None if tells_more else problem)


def _sorted(problem: Exception, words: str, write: bool) -> errors.ResourceError:
    """The error of ours that says what may have happened."""
    unanswered = errors.OutcomeUnknown if write else errors.CloudSilent
    if isinstance(problem, exceptions.ClientError):
        code = code_of(problem)
        if code in NO_ROOM:
            return errors.CapacityError(words)
        if code in REFUSED:
            return errors.TransientError(words, delay=_delay(problem))
        # InternalError and what else EC2 blames itself for: the guide calls the outcome of a request open
        return unanswered(words) if _status(problem) >= 500 else errors.PermanentError(words)
    if isinstance(problem, NOT_SENT):
        return errors.TransientError(words) if write else errors.CloudSilent(words)
    return unanswered(words) if isinstance(problem, UNANSWERED) else errors.PermanentError(words)


def _words(problem: Exception) -> str:
    if isinstance(problem, exceptions.ClientError):
        return f"{code_of(problem)}: {problem.response.get('Error', {}).get('Message', '')}"
    if isinstance(problem, exceptions.ParamValidationError):
        return "boto3 refused the parameters of the call"  # its own words quote them
    return str(problem)


def _status(problem: exceptions.ClientError) -> int:
    return int(problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _delay(problem: exceptions.ClientError) -> float | None:
    """Seconds, where the answer has a Retry-After."""
    headers = problem.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return retry_after.seconds(headers.get("retry-after"), time.time())
