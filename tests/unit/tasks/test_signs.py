"""Signs of life: said and taken back, missing when the main loop hangs, and never in the way of the program."""

from __future__ import annotations

import logging
import pathlib
import types

import pytest
from celery import signals

from occo_celery import settings
from occo_celery.tasks import signs
from occo_celery.uds import programs
from occo_celery.uds.store import Store
from tests.contract.cases import wait_until


class Consumer:
    """As much of Celery's as is looked at: the queues that it takes messages from."""

    app = types.SimpleNamespace(amqp=types.SimpleNamespace(queues=types.SimpleNamespace(consume_from={"passes": 0})))


def made(url: str) -> settings.Settings:
    return settings.Settings(source="a test", home=pathlib.Path("/nowhere"), uds_url=url, broker_url="redis://")


def known(store: Store) -> list[programs.Program]:
    with store.read() as connection:
        return list(programs.known(connection))


def test_said_and_taken_back(store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = signs.Signs(made(database_url), ("passes", "instructions"))
    ours.say()
    first = known(store)
    assert sorted(one.kind for one in first) == ["instructions", "passes"]
    assert all(abs(one.clock_offset) < 1.0 and abs(one.seen_at - store.now()) < 60.0 for one in first)
    ours.say()
    assert known(store) == first, "not so often"
    monkeypatch.setattr(signs, "INTERVAL", 0.0)
    ours.say()
    again = known(store)
    assert len(again) == 2
    assert min(one.seen_at for one in again) > max(one.seen_at for one in first)
    assert {one.started_at for one in again} == {one.started_at for one in first}
    ours.end()
    assert known(store) == []


def test_a_database_that_is_away_is_said_once_and_lived_with(
    short_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(signs, "INTERVAL", 0.0)
    ours = signs.Signs(made("postgresql://nobody:hunter2@127.0.0.1:1/none"), (signs.BEAT,))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            ours.say()
        ours.end()
    (record,) = [one for one in caplog.records if "cannot say" in one.getMessage()]
    assert "hunter2" not in record.getMessage()


def test_a_worker_whose_loop_hangs_gives_no_sign(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs, "INTERVAL", 0.0)
    for name in ("worker_ready", "heartbeat_sent", "worker_shutdown"):
        monkeypatch.setattr(getattr(signals, name), "receivers", [])
        getattr(signals, name).sender_receivers_cache.clear()
    signs.of_worker(made(database_url))
    signals.worker_ready.send(sender=Consumer())
    try:
        (first,) = wait_until(lambda: known(store), what="the first sign")
        assert first.kind == "passes"
        with pytest.raises(AssertionError):
            wait_until(lambda: known(store) != [first], 2.5)
        signals.heartbeat_sent.send(sender=None)
        wait_until(lambda: known(store)[0].seen_at > first.seen_at, what="a sign after the loop has turned")
    finally:
        signals.worker_shutdown.send(sender=None)
    assert known(store) == []
