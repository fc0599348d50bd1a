"""What the handler makes of answers that no real daemon can be brought to give, and of none at all."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator

import pytest

from occo_celery import errors
from occo_celery.model import status
from tests.unit.docker import engine as engines


@pytest.fixture
def engine() -> Iterator[engines.Engine]:
    with engines.engine() as made:
        yield made


NO_ROOM = [
    "failed to create rwlayer: mkdir /var/lib/docker/overlay2/x: no space left on device",
    "failed to create task: fork/exec /usr/bin/runc: cannot allocate memory",
    "failed to create endpoint: no available IPv4 addresses on this network's address pools: bridge",
    "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
    "all predefined address pools have been fully subnetted",
]


def test_a_container_is_made_and_started(engine: engines.Engine) -> None:
    assert engine.handler().create(engine.creation()).state is status.NodeStatus.READY


@pytest.mark.parametrize("words", NO_ROOM)
def test_no_room_to_make_it(engine: engines.Engine, words: str) -> None:
    engine.answers["POST /containers/create"] = 500, {"message": words}
    with pytest.raises(errors.CapacityError, match=words[:20]):
        engine.handler().create(engine.creation())
    assert not any("start" in call for call in engine.calls)


@pytest.mark.parametrize("words", NO_ROOM)
def test_no_room_to_start_it_leaves_nothing(engine: engines.Engine, words: str) -> None:
    engine.answers["POST /containers/c1/start"] = 500, {"message": words}
    with pytest.raises(errors.CapacityError, match=words[:20]):
        engine.handler().create(engine.creation())
    assert engine.calls[-1] == "DELETE /containers/c1"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((500, {"message": "network shop not found"}), errors.PermanentError),
        ((500, {"message": "oh"}), errors.TransientError),
        ((400, {"message": "no command specified"}), errors.PermanentError),
    ],
)
def test_what_cannot_be_started_is_removed(
    engine: engines.Engine, answer: tuple[int, object], kind: type[errors.ResourceError]
) -> None:
    engine.answers["POST /containers/c1/start"] = answer
    with pytest.raises(errors.ResourceError) as caught:
        engine.handler().create(engine.creation())
    assert type(caught.value) is kind
    assert engine.calls[-1] == "DELETE /containers/c1"


def test_what_can_be_neither_started_nor_removed_is_a_doubt(engine: engines.Engine) -> None:
    engine.answers["POST /containers/c1/start"] = 500, {"message": "no space left on device"}
    engine.answers["DELETE /containers/c1"] = 500, {"message": "no space left on device"}
    with pytest.raises(errors.OutcomeUnknown):
        engine.handler().create(engine.creation())


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, errors.PermanentError), (429, errors.TransientError), (500, errors.OutcomeUnknown)],
)
def test_a_refusal_to_make_it(engine: engines.Engine, code: int, kind: type[errors.ResourceError]) -> None:
    engine.answers["POST /containers/create"] = code, {"message": "oh"}
    with pytest.raises(errors.ResourceError, match="oh") as caught:
        engine.handler().create(engine.creation())
    assert type(caught.value) is kind


def test_values_that_the_daemon_quotes_are_hidden(engine: engines.Engine) -> None:
    words = r'invalid environment variable: "A=hunter\"2", and "B=ab"'
    engine.answers["POST /containers/create"] = 400, {"message": words}
    creation = engine.creation({"A": 'hunter"2', "B": "ab"})
    with pytest.raises(errors.PermanentError) as caught:
        engine.handler().create(creation)
    assert str(caught.value) == 'invalid environment variable: "A=***", and "B=***"'
    assert "hunter" not in "".join(traceback.format_exception(caught.value))


def test_what_is_hidden_is_sorted_all_the_same(engine: engines.Engine) -> None:
    for call in ("POST /containers/create", "POST /containers/c1/start"):
        answers = dict(engine.answers)
        engine.answers[call] = 500, {"message": "no space left on device"}
        with pytest.raises(errors.CapacityError, match=r"\*\*\* space left"):
            engine.handler().create(engine.creation({"A": "no"}))
        engine.answers = answers


# --- silence ----------------------------------------------------------------------------------------


@pytest.fixture
def silent(engine: engines.Engine) -> Iterator[engines.Engine]:
    """It takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        engine.port = listening.getsockname()[1]
        yield engine


WRITES: list[Callable[[engines.Engine], object]] = [
    lambda engine: engine.handler().create(engine.creation(timeout=1.9)),
    lambda engine: engine.handler().drop("c1", 1.9),
]
LOOKS: list[Callable[[engines.Engine], object]] = [
    lambda engine: engine.handler().observe(["n1"], 1.9),
    lambda engine: engine.handler().sweep(None, 1.9),
    lambda engine: engine.handler().logs("c1", 1, 1.9),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_daemon_that_was_silent_from_the_start_was_asked_for_nothing(
    silent: engines.Engine, write: Callable[[engines.Engine], object]
) -> None:
    """A doubt would keep the node from going elsewhere for as long as the daemon is frozen."""
    with pytest.raises(errors.TransientError, match=r"(?i)timed out") as caught:
        write(silent)
    assert type(caught.value) is errors.TransientError


@pytest.mark.parametrize("look", LOOKS)
def test_a_daemon_that_was_silent_from_the_start_is_not_seen(
    silent: engines.Engine, look: Callable[[engines.Engine], object]
) -> None:
    with pytest.raises(errors.CloudSilent, match=r"(?i)timed out"):
        look(silent)
