"""What travels through a real broker, and how long one that is down or frozen holds up whoever publishes."""

from __future__ import annotations

import base64
import json
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from occo_celery import dispatch, errors, settings
from occo_celery.model.instance import Operation, OperationKind
from occo_celery.model.message import Chain, Claim
from tests import brokers

ONE = Claim(token="t", infra_ids=("i1",), name="shop")
CHAIN = Chain(infra_id="i1", token="t", stage=0, levels=2, name="shop")
#: Seconds that a publish may take on a busy machine; a broker is waited for PATIENCE long.
SOON = dispatch.PATIENCE * 5


def made(url: str, **celery: Any) -> dispatch.Dispatch:
    config = settings.Settings(
        source="FILE",
        home=pathlib.Path("/nowhere"),
        uds_url="sqlite://",
        broker_url=url,
        celery=celery,
        instructions=settings.Instructions(batch=2),
    )
    return dispatch.Dispatch(dispatch.make_app(config), config)


@pytest.fixture
def send(broker: brokers.Valkey) -> dispatch.Dispatch:
    return made(broker.url)


def operation(number: int, kind: OperationKind) -> Operation:
    return Operation(target=f"n{number}", infra_id="i1", node_name="db", kind=kind, attach_epoch=0)


def queued(broker: brokers.Valkey, queue: str) -> list[dict[str, Any]]:
    """The messages of a queue, oldest first."""
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        return [json.loads(one) for one in reversed(client.lrange(queue, 0, -1))]


def told(broker: brokers.Valkey, queue: str) -> list[tuple[str, str]]:
    """Task and what Flower shows of it."""
    return [(one["headers"]["task"], one["headers"]["argsrepr"]) for one in queued(broker, queue)]


def body(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


# --- messages --------------------------------------------------------------------------------------------------


def test_passes(send: dispatch.Dispatch, broker: brokers.Valkey) -> None:
    send.passes(ONE)
    send.passes(Claim(token="t", infra_ids=("i1",)))
    send.passes(Claim(token="t", infra_ids=tuple(f"i{number}" for number in range(50))))
    assert told(broker, "passes") == [
        ("enactor-pass", "(infra_id=i1, name=shop)"),
        ("enactor-pass", "(infra_id=i1)"),
        ("enactor-pass", "(enactor-pass x50)"),
    ]
    first = queued(broker, "passes")[0]
    assert first["content-type"] == "application/json"
    assert first["headers"]["expires"] is None, "hosts need not agree on the time"
    assert first["headers"]["eta"] is None
    assert body(first)[:2] == [["t", ["i1"]], {}]


def test_a_pass_says_that_something_has_happened(send: dispatch.Dispatch, broker: brokers.Valkey) -> None:
    send.passes(Claim(token="t", infra_ids=("i1",), woken=True))
    assert body(queued(broker, "passes")[0])[:2] == [["t", ["i1"]], {"woken": True}]


def test_a_pass_can_be_held_back(send: dispatch.Dispatch, broker: brokers.Valkey) -> None:
    send.passes(Claim(token="t", infra_ids=("i1",), after=5.0))
    assert queued(broker, "passes")[0]["headers"]["eta"] is not None


def test_operations_travel_in_sets_of_one_kind(send: dispatch.Dispatch, broker: brokers.Valkey) -> None:
    kinds = [OperationKind.CREATE] * 3 + [OperationKind.DROP, OperationKind.STRAY]
    send.operations([operation(number, kind) for number, kind in enumerate(kinds)])
    assert told(broker, "instructions") == [
        ("create-node", "(create-node x2, infra_id=i1)"),
        ("create-node", "(node=db, infra_id=i1, node_id=n2)"),
        ("drop-node", "(drop-node x2, infra_id=i1)"),
    ]
    assert [body(one)[0] for one in queued(broker, "instructions")] == [[["n0", "n1"]], [["n2"]], [["n3", "n4"]]]


@pytest.mark.parametrize("stage", range(4))
def test_a_teardown_is_one_chain_from_its_stage_on(
    send: dispatch.Dispatch, broker: brokers.Valkey, stage: int
) -> None:
    send.teardown(Chain(infra_id="i1", token="t", stage=stage, levels=2, name="shop"))
    [message] = queued(broker, "instructions")
    links = [(message["headers"]["task"], body(message)[0], message["headers"]["argsrepr"])]
    rest = body(message)[2]["chain"] or []
    links += [(one["task"], one["args"], one["options"]["argsrepr"]) for one in reversed(rest)]
    names = ["drop-level", "drop-level", "sweep", "finish"]
    assert links == [
        (name, ["i1", "t", number], f"(infra_id=i1, name=shop, stage={number})")
        for number, name in list(enumerate(names))[stage:]
    ]


# --- a broker that does not answer -----------------------------------------------------------------------------

CALLS: list[tuple[str, Callable[[dispatch.Dispatch], None]]] = [
    ("passes", lambda send: send.passes(ONE)),
    ("operations", lambda send: send.operations([operation(1, OperationKind.CREATE)])),
    ("teardown", lambda send: send.teardown(CHAIN)),
    ("check", lambda send: send.check()),
]
each_call = pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])


def given_up(call: Callable[[], None]) -> float:
    """The seconds after which it said that the broker does not answer."""
    begun = time.monotonic()
    with pytest.raises(errors.BrokerUnavailable, match="does not answer"):
        call()
    return time.monotonic() - begun


def test_a_sweep_names_its_account(send: dispatch.Dispatch, broker: brokers.Valkey) -> None:
    send.sweep("simulated:/cloud:default")
    assert told(broker, "instructions") == [("sweep-account", "(account=simulated:/cloud:default)")]
    (message,) = queued(broker, "instructions")
    assert body(message)[0] == ["simulated:/cloud:default"]


@each_call
@pytest.mark.parametrize("used", [True, False], ids=["connected", "new"])
def test_frozen(broker: brokers.Valkey, call: Callable[[dispatch.Dispatch], None], used: bool) -> None:
    send = made(broker.url)
    if used:
        send.passes(ONE)
    broker.freeze()
    assert given_up(lambda: call(send)) < SOON
    broker.thaw()
    call(send)


@each_call
@pytest.mark.parametrize("used", [True, False], ids=["connected", "new"])
def test_down(broker: brokers.Valkey, call: Callable[[dispatch.Dispatch], None], used: bool) -> None:
    send = made(broker.url)
    if used:
        send.passes(ONE)
    broker.kill()
    assert given_up(lambda: call(send)) < SOON
    broker.start()
    call(send)


def test_a_setting_of_the_operator_does_not_cost_the_time_outs(broker: brokers.Valkey) -> None:
    send = made(broker.url, broker_transport_options={"global_keyprefix": "occo:"})
    send.passes(ONE)
    broker.freeze()
    assert given_up(lambda: send.passes(ONE)) < SOON


def test_many_threads_do_not_queue_behind_a_frozen_broker(broker: brokers.Valkey) -> None:
    send = made(broker.url)
    send.passes(ONE)
    broker.freeze()
    times: list[float] = []
    threads = [threading.Thread(target=lambda: times.append(given_up(lambda: send.passes(ONE)))) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 24
    assert max(times) < SOON


@pytest.mark.parametrize("url", ["redis://occo:hunter2@127.0.0.1:1/0", "redis://:hunter2@127.0.0.1:1/0"])
def test_a_password_is_not_in_the_message(url: str) -> None:
    with pytest.raises(errors.BrokerUnavailable) as raised:
        made(url).check()
    assert str(raised.value).startswith("the message broker redis://127.0.0.1:1/0 does not answer: ")
    assert "hunter2" not in str(raised.value)


def test_options_of_a_url_are_not_shown() -> None:
    assert dispatch._masked("rediss://u:p@host:1/0?ssl_keyfile=/x&password=p") == "rediss://host:1/0"
