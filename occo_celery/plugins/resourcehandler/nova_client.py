"""Nova and Neutron through openstacksdk, with one time limit over all requests that a call takes.

Used by nova.py and nova_network.py. A call may ask Keystone for a token and services for their versions before it
asks for what it is about; the SDK takes a time limit for each request only. So the session, which all requests go
through, gives each what is left. It also keeps them out of the log: at level DEBUG keystoneauth would write down user
data.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystoneauth1 import session as sessions
from keystoneauth1.identity import v3
from openstack import connection as connections
from openstack import exceptions as sdk

from occo_celery import errors
from occo_celery.plugins.resourcehandler import nova_errors, nova_section

#: Connections that are kept for threads that call at the same time.
CONNECTIONS = 32
#: Requests that ask only.
_ASKING = ("GET", "HEAD")


class _Clock(threading.local):
    """Until when the call of this thread may take, by time.monotonic."""

    until = 0.0

    def left(self) -> float:
        """Seconds. Raises Unanswered when they are over."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise nova_errors.Unanswered("no time was left for the call", before=True)
        return left


class _Session(sessions.Session):
    """keystoneauth's, with the clock of the calling thread."""

    def __init__(self, clock: _Clock, **told: Any) -> None:
        super().__init__(**told)
        self._clock = clock
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, sessions.TCPKeepAliveAdapter(pool_maxsize=CONNECTIONS))

    def request(self, url: str, method: str, *more: Any, **told: Any) -> Any:
        """Tries nothing again: the workers do."""
        told |= {"timeout": self._clock.left(), "connect_retries": 0, "status_code_retries": 0, "log": False}
        harmless = method in _ASKING or told.get("authenticated") is False
        try:
            return super().request(url, method, *more, **told)
        except keystone.SSLError as problem:
            where = url.partition("?")[0]
            raise errors.PermanentError(f"nova: the certificate of {where} is not trusted") from problem
        except keystone.ConnectionError as problem:
            before = harmless or nova_errors.was_not_sent(problem)
            raise nova_errors.Unanswered(str(problem), before=before) from problem


@dataclass(slots=True)
class _Process:
    """What one process has: connections do not survive a fork, nor do locks."""

    pid: int
    connection: Any
    session: _Session
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    """The services that a section and its credentials lead to. Made without a request."""

    def __init__(self, section: Mapping[str, Any], login: nova_section.Credentials) -> None:
        self._section, self._login = section, login
        self._secret = login.password if isinstance(login, nova_section.Password) else login.secret
        self._clock = _Clock()
        self._process: _Process | None = None

    @contextmanager
    def calls(self, timeout: float, *, write: bool, secrets: Iterable[str] = ()) -> Iterator[Any]:
        """The SDK's connection, for requests that take so many seconds together. Errors are ours: see nova_errors."""
        self._clock.until = time.monotonic() + timeout
        with nova_errors.translated(write=write, secrets=(self._secret, *secrets)):
            yield self._entered().connection

    def _entered(self) -> _Process:
        """With a token. keystoneauth lets one thread ask for it, and the others wait as long as that takes: so they
        wait here, each for its own time."""
        mine = self._mine()
        if not mine.lock.acquire(timeout=self._clock.left()):
            raise nova_errors.Unanswered("Keystone has not answered", before=True)
        try:
            mine.session.get_token()
        finally:
            mine.lock.release()
        return mine

    def _mine(self) -> _Process:
        known = self._process
        if known is None or known.pid != os.getpid():
            session = _Session(self._clock, auth=_identity(self._section, self._login))
            region = self._section.get("region_name")
            made = connections.Connection(session=session, region_name=region) if region else None
            known = self._process = _Process(os.getpid(), made or connections.Connection(session=session), session)
        return known


def ask(service: Any, method: str, path: str, **told: Any) -> dict[str, Any]:
    """One request to a service of the connection's: what it answers, as JSON. Raises the SDK's errors."""
    response = service.request(path, method, **told)
    sdk.raise_from_response(response)
    found: dict[str, Any] = response.json() if response.content else {}
    return found


def _identity(section: Mapping[str, Any], login: nova_section.Credentials) -> Any:
    """What Keystone is shown."""
    base = str(section["endpoint"]).rstrip("/").removesuffix("/v2.0")
    url = base if base.endswith("/v3") else f"{base}/v3"
    match login:
        case nova_section.Password():
            domain = str(section.get("user_domain_name") or nova_section.DOMAIN)
            return v3.Password(
                url,
                username=login.username,
                password=login.password,
                user_domain_name=domain,
                project_id=str(section["project_id"]),
            )
        case nova_section.ApplicationCredential():
            return v3.ApplicationCredential(
                url, application_credential_id=login.id, application_credential_secret=login.secret
            )
