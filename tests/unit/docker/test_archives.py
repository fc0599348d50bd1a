"""Images from archives at URLs: what web servers refuse, and that no part of a URL is shown: any may be a secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest

from occo_celery import errors
from tests.contract.cases import wait_until
from tests.unit.docker import engine as engines

PATH = "/archive-hunter2/image.tar"
SIGNED = f"{PATH}?sig=hunter2#hunter2"


@pytest.fixture
def engine() -> Iterator[engines.Engine]:
    """Without the image."""
    with engines.engine() as made:
        made.answers["POST /containers/create"] = 404, {"message": "No such image: web:1"}
        yield made


def refusal(engine: engines.Engine, origin: str) -> errors.ResourceError:
    """What becomes of a creation in the end."""
    handler = engine.handler()

    def refused() -> errors.ResourceError | None:
        with pytest.raises(errors.ResourceError) as caught:
            handler.create(engine.creation(origin=origin))
        return None if "is being fetched" in str(caught.value) else caught.value

    problem = wait_until(refused, 60.0)
    assert problem is not None
    return problem


def assert_hidden(problem: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    assert "hunter2" not in "".join(traceback.format_exception(problem))
    assert "hunter2" not in caplog.text
    assert "127.0.0.1" not in str(problem)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (403, errors.PermanentError, "answered 403 Forbidden"),
        (404, errors.PermanentError, "answered 404 Not Found"),
        (408, errors.TransientError, "answered 408 Request Timeout"),
        (425, errors.TransientError, "answered 425 Too Early"),
        (429, errors.TransientError, "answered 429 Too Many Requests"),
        (500, errors.TransientError, "answered 500 Internal Server Error"),
        (503, errors.TransientError, "answered 503 Service Unavailable"),
        (599, errors.TransientError, "answered 599"),
    ],
)
def test_refusals(
    engine: engines.Engine,
    caplog: pytest.LogCaptureFixture,
    code: int,
    kind: type[errors.ResourceError],
    words: str,
) -> None:
    caplog.set_level(logging.INFO)
    engine.answers[f"GET {PATH}"] = code, None, {"Retry-After": "7"}
    problem = refusal(engine, engine.web + SIGNED)
    assert type(problem) is kind
    assert str(problem) == f"image web:1: the URL in `origin` {words}"
    assert getattr(problem, "delay", None) == (7 if kind is errors.TransientError else None)
    assert_hidden(problem, caplog)


def test_while_it_is_on_its_way(engine: engines.Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine.go.clear()
    words = r"^image web:1 is being fetched from the URL in `origin`$"
    with pytest.raises(errors.TransientError, match=words) as caught:
        engine.handler().create(engine.creation(origin=engine.web + SIGNED))
    assert caught.value.delay == 5
    assert_hidden(caught.value, caplog)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://127.0.0.1:hunter2/", "RemoteProtocolError"),
        ("ftp://hunter2/", "UnsupportedProtocol"),
        (SIGNED, "TooManyRedirects"),
        ("http://hunter2.invalid/", ""),  # as the system puts it
    ],
)
def test_the_words_of_the_library_are_not_shown(
    engine: engines.Engine, caplog: pytest.LogCaptureFixture, location: str, words: str
) -> None:
    caplog.set_level(logging.INFO)
    engine.answers[f"GET {PATH}"] = 302, None, {"Location": location}
    problem = refusal(engine, engine.web + SIGNED)
    assert type(problem) is errors.TransientError
    assert str(problem).startswith(f"image web:1: the URL in `origin`: {words}")
    assert_hidden(problem, caplog)


def test_the_words_of_the_system_are_shown(engine: engines.Engine, caplog: pytest.LogCaptureFixture) -> None:
    problem = refusal(engine, f"http://127.0.0.1:9{SIGNED}")
    assert str(problem) == "image web:1: the URL in `origin`: Connection refused"
    assert_hidden(problem, caplog)


def test_an_archive_of_something_else(engine: engines.Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.answers[f"GET {PATH}"] = 200, b"a tar"
    engine.answers["POST /images/load"] = 200, {"stream": "Loaded image: other:1\n"}
    engine.answers["GET /images/web:1/json"] = 404, {"message": "No such image: web:1"}
    problem = refusal(engine, engine.web + SIGNED)
    assert type(problem) is errors.PermanentError
    assert str(problem).startswith("the URL in `origin` does not hold the image web:1: ")
    assert_hidden(problem, caplog)


def test_a_broken_archive(engine: engines.Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.answers[f"GET {PATH}"] = 200, b"a tar", {"Content-Length": "100000", "Connection": "close"}
    engine.answers["POST /images/load"] = 200, {"stream": ""}
    problem = refusal(engine, engine.web + SIGNED)
    assert type(problem) is errors.TransientError
    assert_hidden(problem, caplog)
