"""Events of tasks travel together, whatever becomes of the loop that sends them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from kombu.asynchronous import hub as hubs
from kombu.utils import imports

from occo_celery import dispatch, settings
from occo_celery.tasks import consumer


class Dispatcher:
    """What sends events; tells how often it did."""

    sent = 0

    def flush(self) -> None:
        self.sent += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass for the consumer."""
    now = 100.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(consumer.time, "monotonic", lambda: now)
    return passes


@pytest.fixture
def taker() -> consumer.Consumer:
    made = consumer.Consumer.__new__(consumer.Consumer)
    made._sent_by, made.hub, made.event_dispatcher = 0.0, hubs.Hub(), Dispatcher()
    return made


def test_workers_use_it(tmp_path: pathlib.Path) -> None:
    config = settings.Settings(source="test", home=tmp_path, uds_url="sqlite://", broker_url="redis://")
    assert imports.symbol_by_name(dispatch.make_app(config).conf.worker_consumer) is consumer.Consumer


def turn(taker: consumer.Consumer) -> int:
    """One turn of the loop; how many sendings it is to make later."""
    for callback in taker.hub._pop_ready():
        callback()
    return len(taker.hub.timer.queue)


def test_what_comes_up_soon_after_travels_along(taker: consumer.Consumer, clock: Callable[[float], None]) -> None:
    for _ in range(5):
        taker.on_send_event_buffered()
        assert turn(taker) == 1
        clock(consumer.GATHER / 10)
    assert taker.event_dispatcher.sent == 0
    for entry in taker.hub.timer.queue:
        entry.entry()
    assert taker.event_dispatcher.sent == 1


def test_timers_that_a_lost_connection_took_along_are_made_again(
    taker: consumer.Consumer, clock: Callable[[float], None]
) -> None:
    taker.on_send_event_buffered()
    turn(taker)
    taker.hub.timer.clear()
    clock(consumer.GATHER)
    taker.on_send_event_buffered()
    assert turn(taker) == 1


def test_what_waits_is_sent_before_the_end(
    taker: consumer.Consumer, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_before: list[int] = []
    monkeypatch.setattr(
        consumer.consumer.Consumer, "stop", lambda self: sent_before.append(self.event_dispatcher.sent)
    )
    taker.on_send_event_buffered()
    taker.stop()
    assert sent_before == [1]
