"""The check of URLs: healthy when each answers with a status below 400.

Redirects are not followed, bodies not read. httpx is imported when a URL is asked: it takes longer to load than most
commands run, and this plugin is loaded by everything that can look at instances.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.contextualisation import templates
from occo_celery.plugins.healthcheck import answers, base

if TYPE_CHECKING:
    import httpx


class UrlsCheck(base.HealthCheck):
    """``urls: ["http://{{ip}}:8080/health"]``"""

    value: ClassVar[Any] = list[str]
    default: ClassVar[Any] = []
    renders: ClassVar[bool] = True

    async def check(self, value: Any, target: base.Target, limit: float) -> status.Reason | None:
        """The first URL that does not answer well, one after the other within ``limit`` (run.py gives single ones).

        Raises TemplateError; PermanentError for what is not an HTTP URL.
        """
        ends = asyncio.get_running_loop().time() + limit
        for template in value:
            address = target.addresses[0] if target.addresses else None
            what = f"url {_told(templates.told(template), address)}"
            if address is None:
                return answers.no_address(what)
            url = _url(template, address, target.names, what)
            try:
                async with asyncio.timeout_at(ends):
                    detail = await _ask(url, limit)
            except TimeoutError:
                detail = "timed out"
            if detail is not None:
                return answers.waiting_for(what, detail)
        return None

    def templates(self, value: Any) -> Mapping[str, str]:
        """All URLs."""
        return dict(templates.strings(value))


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _told(template: str, address: str | None) -> str:
    """A URL as reasons show it: the template with its address, since a rendered one may hold secrets."""
    shown = re.sub(r"//[^/?#]*@", "//", template)  # user and password
    shown = shown.partition("?")[0]
    return shown if address is None else re.sub(r"\{\{\s*ip\s*\}\}", lambda _: _host(address), shown)


def _url(template: Any, address: str, names: Mapping[str, Any], what: str) -> httpx.URL:
    """template: a text, or a reference to a secret."""
    import httpx

    text = templates.render_tree(template, {**names, "ip": _host(address)}, f"health_check {what}")
    url = None
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        pass
    right = url is not None and url.scheme in ("http", "https") and url.host and (url.port or 80) <= 65535
    if url is None or not right:  # unchained: the cause quotes the URL
        raise errors.PermanentError(f"{what} is not a URL of http or https")
    return url


async def _ask(url: httpx.URL, limit: float) -> str | None:
    import httpx

    try:
        async with (
            httpx.AsyncClient(
                verify=_contexts()[url.scheme], trust_env=False, follow_redirects=False, timeout=limit
            ) as client,
            client.stream("GET", url, headers={"user-agent": "occo_celery"}) as answer,
        ):
            return None if answer.status_code < 400 else f"HTTP {answer.status_code}"
    except httpx.TransportError as problem:
        return _word(problem)


def _word(problem: httpx.TransportError) -> str:
    import httpx

    cause: BaseException | None = problem
    while cause is not None:  # httpx wraps httpcore wraps anyio wraps the system's error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "certificate not trusted"
        if isinstance(cause, ssl.SSLError):
            return "no TLS"
        if isinstance(cause, OSError) and (cause.errno is not None or isinstance(cause, TimeoutError)):
            return answers.word(cause)
        if isinstance(cause, BaseExceptionGroup):  # one for each address that was tried
            cause = cause.exceptions[0]
            continue
        cause = cause.__cause__ or cause.__context__
    if isinstance(problem, httpx.RemoteProtocolError):
        return "no HTTP"
    return "reset" if isinstance(problem, httpx.NetworkError) else "no connection"


class _Contexts(dict[str, ssl.SSLContext]):
    """By scheme, made when first asked for: reading the certificate authorities takes tens of milliseconds."""

    def __missing__(self, scheme: str) -> ssl.SSLContext:
        # http gets one that trusts nobody, because httpx would make a costly one otherwise
        made = ssl.create_default_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self[scheme] = made
        return made


@functools.cache
def _contexts() -> _Contexts:
    return _Contexts()
