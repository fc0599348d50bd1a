"""Gets images to a Docker daemon, beside the calls that need them: a pull may take minutes, and nobody waits for it.

Called by docker.py when the daemon does not have an image. Each image is fetched by a thread of this process; several
processes may fetch the same one, which the daemon makes one download of. The daemon gives up a download that nobody
listens to, so that a worker that dies leaves nothing half done; the next attempt begins it again.

The URL of an archive may hold a secret, a signature for example: no message shows any part of it.
"""

from __future__ import annotations

import contextlib
import http
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
from docker import errors as docker_errors
from requests import exceptions

from occo_celery import errors
from occo_celery.plugins.resourcehandler import docker_errors as sorting
from occo_celery.plugins.resourcehandler import docker_section, retry_after

#: Seconds that a creation waits for its image before it gives way to others, and asks to be called again after.
PATIENCE, AGAIN = 1.0, 5.0
#: Seconds without a byte after which an archive is given up. The SDK waits for ever for what a pull tells, so that
#: one whose daemon has gone silent is left to itself after LONGEST, and begun again.
SILENCE, LONGEST = 60.0, 1800.0
#: What messages call the place that an archive comes from.
ARCHIVE = "the URL in `origin`"
#: Refusals of a web server that may pass; so do those of 500 and above.
PASSING = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_EARLY, http.HTTPStatus.TOO_MANY_REQUESTS)


class _Fetch:
    """One image on its way."""

    def __init__(self) -> None:
        self.given_up = time.monotonic() + LONGEST
        self.over = threading.Event()
        self.problem: errors.ResourceError | None = None


class Images:
    """connect: makes a client of the daemon whose calls may be silent for so many seconds."""

    def __init__(self, connect: Callable[[int], Any], login: docker_section.Credentials | None) -> None:
        self._connect, self._login = connect, login
        self._lock = threading.Lock()
        self._going: dict[tuple[int, str, str], _Fetch] = {}

    def fetch(self, section: docker_section.DockerSection) -> None:
        """Returns when the daemon has the image of a section.

        Raises TransientError while it is on its way, and what ended a fetch that did not succeed.
        """
        reference = section.reference()
        if section.origin == docker_section.LOCAL:
            raise errors.PermanentError(f"the daemon has no image {reference}, and origin is local")
        key = (os.getpid(), section.origin, reference)  # threads do not survive a fork
        with self._lock:
            going = self._going.get(key)
            if going is None or time.monotonic() > going.given_up:
                going = self._going[key] = _Fetch()
                threading.Thread(target=self._run, args=(going, section), name=reference, daemon=True).start()
        if not going.over.wait(PATIENCE):
            place = section.origin if section.origin == docker_section.DOCKERHUB else ARCHIVE
            raise errors.NotYet(f"image {reference} is being fetched from {place}", delay=AGAIN)
        with self._lock:
            if self._going.get(key) is going:
                del self._going[key]
        if going.problem is not None:
            raise going.problem

    def _run(self, going: _Fetch, section: docker_section.DockerSection) -> None:
        reference = section.reference()
        secrets = (self._login.password,) if self._login is not None else ()
        try:
            with contextlib.closing(self._connect(int(SILENCE))) as client:
                if section.origin == docker_section.DOCKERHUB:
                    self._pull(client, reference, secrets)
                else:
                    _load(client, section.origin, reference)
        except errors.CloudSilent as problem:  # before anything was asked for
            going.problem = errors.TransientError(str(problem))
        except errors.ResourceError as problem:
            going.problem = problem
        except (docker_errors.DockerException, exceptions.RequestException) as problem:
            going.problem = sorting.of_image(f"image {reference}: {sorting.said(problem)}", secrets)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            going.problem = errors.TransientError(f"image {reference}: {ARCHIVE}: {_why(problem)}")
        except Exception as problem:  # noqa: BLE001 whatever it was, somebody waits to hear of it
            going.problem = errors.TransientError(f"image {reference}: {type(problem).__name__}")
        finally:
            going.over.set()

    def _pull(self, client: Any, reference: str, secrets: Iterable[str]) -> None:
        """The registry's answers come as a stream, errors among them. Raises what _failed makes of them."""
        login = self._login and {"username": self._login.username, "password": self._login.password}
        for told in client.pull(reference, stream=True, decode=True, auth_config=login):
            _failed(told, reference, secrets)


def _load(client: Any, url: str, reference: str) -> None:
    """Hand an archive from a URL to the daemon, which must hold the image then."""
    with httpx.stream("GET", url, follow_redirects=True, timeout=SILENCE) as answer:
        if answer.status_code != http.HTTPStatus.OK:
            raise _refusal(answer, reference)
        loaded = [told.get("stream", "").strip() for told in _loading(client, answer.iter_bytes(), reference)]
    try:
        client.inspect_image(reference)
    except docker_errors.ImageNotFound as problem:
        there = ", ".join(filter(None, loaded)) or "nothing that the daemon could load"
        raise errors.PermanentError(f"{ARCHIVE} does not hold the image {reference}: {there[:300]}") from problem


def _refusal(answer: httpx.Response, reference: str) -> errors.ResourceError:
    """What an answer without an archive means. The server's own words may quote what it was asked for."""
    code = answer.status_code
    words = f"image {reference}: {ARCHIVE} answered {code} {httpx.codes.get_reason_phrase(code)}".rstrip()
    if code in PASSING or code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.TransientError(words, delay=retry_after.seconds(answer.headers.get("retry-after"), time.time()))
    return errors.PermanentError(words)


def _why(problem: BaseException) -> str:
    """In words of the system's, e.g. ``Connection refused``; those of libraries may quote the URL, or its host."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"{type(problem).__name__}, {cause.reason or 'TLS'}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(problem).__name__


def _loading(client: Any, archive: Iterator[bytes], reference: str) -> Iterator[dict[str, Any]]:
    for told in client.load_image(archive) or ():
        _failed(told, reference)
        yield told


def _failed(told: dict[str, Any], reference: str, secrets: Iterable[str] = ()) -> None:
    if told.get("error"):
        raise sorting.of_image(f"image {reference}: {told['error']}", secrets)
