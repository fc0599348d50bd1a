"""A message whose acknowledgement fails does not keep its place in a worker."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
import redis

from occo_celery import dispatch, settings
from tests import brokers


@pytest.fixture
def connection(broker: brokers.Valkey) -> Iterator[kombu.Connection]:
    """As a worker has it, to a broker that is not waited for long."""
    config = settings.Settings(
        source="test",
        home=pathlib.Path("/nowhere"),
        uds_url="sqlite://",
        broker_url=broker.url,
        celery={"broker_transport_options": {"socket_timeout": 0.2}},
    )
    with dispatch.make_app(config).connection_for_read() as connection:
        yield connection


def taken(connection: kombu.Connection) -> Any:
    """A message that was taken by one who works on one at a time."""
    channel = connection.channel()
    channel.basic_qos(0, 1, False)
    message = next_of(channel)
    assert not channel.qos.can_consume()
    return message


def next_of(channel: Any) -> Any:
    """Sends a message, and takes one."""
    found: list[Any] = []
    queue = kombu.Queue("passes", channel=channel)
    queue.declare()
    kombu.Producer(channel).publish({}, routing_key="passes")
    with kombu.Consumer(channel, [queue], on_message=found.append):
        channel.connection.client.drain_events(timeout=5)
    return found[0]


END: list[Callable[[Any], Any]] = [
    lambda message: message.ack(),
    lambda message: message.reject(),
    lambda message: message.requeue(),
]


@pytest.mark.parametrize("end", END, ids=["acknowledged", "rejected", "given back"])
def test_a_broker_that_stands_still_takes_no_place_away(
    broker: brokers.Valkey, connection: kombu.Connection, end: Callable[[Any], Any]
) -> None:
    message = taken(connection)
    broker.freeze()
    try:
        with pytest.raises(redis.exceptions.TimeoutError):
            end(message)
    finally:
        broker.thaw()
    assert message.channel.qos.can_consume()
    assert next_of(message.channel) is not None


@pytest.mark.parametrize("end", END, ids=["acknowledged", "rejected", "given back"])
def test_a_broker_that_answers(connection: kombu.Connection, end: Callable[[Any], Any]) -> None:
    message = taken(connection)
    end(message)
    assert message.channel.qos.can_consume()
