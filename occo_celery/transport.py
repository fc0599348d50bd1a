"""The way to Redis and Valkey: kombu's own, but for what becomes of a message whose acknowledgement fails.

Every app of dispatch.py uses it, by its ``amqp``. Each class here is there to put the next one in its place.
"""

from __future__ import annotations

from typing import Any

import kombu
from celery.app import amqp
from kombu.transport import redis, virtual


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    """Counts the messages that are being worked on. Kombu counts one whose acknowledgement fails, since the broker
    stood still for a moment, as long as the connection lasts: each such moment would take places from a worker,
    until it takes no message any more. The broker gives such a message to somebody else in time (``VISIBILITY``)."""

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue=requeue)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):  # type: ignore[misc]
    QoS = QoS


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel


class Connection(kombu.Connection):  # type: ignore[misc]
    def get_transport_cls(self) -> Any:
        found = super().get_transport_cls()
        return Transport if found is redis.Transport else found


class AMQP(amqp.AMQP):  # type: ignore[misc]
    Connection = Connection
