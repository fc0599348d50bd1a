"""The words of the health checks: short and stable, so that a reason is the same as long as the trouble is.

Called by the checks.
"""

from __future__ import annotations

import errno
import socket

from occo_celery import errors
from occo_celery.model import status

#: Troubles of this host, not of the instance: they tell nothing about it.
_OWN = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.EACCES,
        errno.EPERM,
        errno.EAFNOSUPPORT,
    }
)
_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timed out",
    errno.EHOSTUNREACH: "no route",
    errno.ENETUNREACH: "no route",
    errno.EHOSTDOWN: "no route",
}


def waiting_for(check: str, detail: str) -> status.Reason:
    """Not healthy. check: what was asked (``port 3306``); detail: what came (``refused``)."""
    return status.Reason(code="waiting_for", arguments={"check": check, "detail": detail})


def no_address(check: str) -> status.Reason:
    """Not healthy: there is nobody to ask."""
    return waiting_for(check, "no address yet")


def word(problem: OSError) -> str:
    """What an error of a connection says about the instance.

    Raises TransientError for an error of this host, which says nothing about it.
    """
    if isinstance(problem, TimeoutError):
        return "timed out"
    if isinstance(problem, socket.gaierror):
        if problem.errno == socket.EAI_AGAIN:
            raise errors.TransientError("its name cannot be resolved now") from problem
        return "unknown name"
    if problem.errno in _OWN:
        raise errors.TransientError(f"this host cannot ask: {problem.strerror}") from problem
    return _WORDS.get(problem.errno or 0, "no connection")
