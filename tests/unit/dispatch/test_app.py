"""The Celery app: what the guarantees rest on, and what an operator's settings of Celery may do to it."""

from __future__ import annotations

import pathlib
import ssl
from typing import Any

import pytest

from occo_celery import dispatch, errors, settings


def config(broker_url: str = "redis://broker/0", **celery: Any) -> settings.Settings:
    return settings.Settings(
        source="FILE", home=pathlib.Path("/nowhere"), uds_url="sqlite://", broker_url=broker_url, celery=celery
    )


def test_what_the_guarantees_rest_on() -> None:
    conf = dispatch.make_app(config()).conf
    assert conf.accept_content == ["json"]
    assert (conf.task_serializer, conf.task_ignore_result, conf.result_backend) == ("json", True, None)
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost) == (True, False)
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.task_publish_retry is False
    assert conf.beat_schedule == {}


def test_a_task_ends_before_its_message_is_given_to_another() -> None:
    conf = dispatch.make_app(config()).conf
    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]


def test_every_task_has_a_queue_of_its_own_program() -> None:
    router = dispatch.make_app(config()).amqp.router
    queues = {name: router.route({}, name)["queue"].name for name in dispatch.QUEUES}
    assert queues == dispatch.QUEUES
    assert set(queues.values()) == {"passes", "instructions"}


def test_no_app_is_current() -> None:
    import celery

    assert celery.current_app.main != dispatch.make_app(config()).main


@pytest.mark.parametrize(("scheme", "tls"), [("redis", False), ("rediss", True)])
def test_tls_verifies_the_server(scheme: str, tls: bool) -> None:
    conf = dispatch.make_app(config(f"{scheme}://broker/0")).conf
    assert conf.broker_use_ssl == ({"ssl_cert_reqs": ssl.CERT_REQUIRED} if tls else False)


# --- the operator's settings -----------------------------------------------------------------------------------


def test_transport_options_are_merged() -> None:
    options = dispatch.make_app(config(broker_transport_options={"global_keyprefix": "occo:"})).conf
    assert options.broker_transport_options == {
        **dispatch.make_app(config()).conf.broker_transport_options,
        "global_keyprefix": "occo:",
    }


def test_a_setting_is_put_over_ours() -> None:
    assert dispatch.make_app(config(worker_soft_shutdown_timeout=3)).conf.worker_soft_shutdown_timeout == 3


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"worker_soft_shutdown_timeot": 1},
        "FILE: celery.worker_soft_shutdown_timeot is not a setting of Celery; "
        "did you mean worker_soft_shutdown_timeout?",
    ),
    # The spelling of Celery 3, which Celery still takes and settings.FIXED_CELERY does not name.
    ({"CELERY_ACKS_LATE": False}, "FILE: celery.CELERY_ACKS_LATE is not a setting of Celery"),
    ({"CELERY_TASK_SERIALIZER": "pickle"}, "FILE: celery.CELERY_TASK_SERIALIZER is not a setting of Celery"),
    ({"broker_transport_options": 5}, "FILE: celery.broker_transport_options is a mapping"),
    ({"task_time_limit": 600}, "FILE: celery.task_time_limit is 600 s and visibility_timeout 600 s"),
    ({"task_time_limit": None}, "FILE: celery.task_time_limit is None s and visibility_timeout 600 s"),
    ({"task_time_limit": "5"}, "FILE: celery.task_time_limit is 5 s and visibility_timeout 600 s"),
    (
        {"broker_transport_options": {"visibility_timeout": 60}},
        "FILE: celery.task_time_limit is 300 s and visibility_timeout 60 s; the first must be the smaller, "
        "or a long task would run twice",
    ),
]


@pytest.mark.parametrize(("celery", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_would_break_a_promise_is_refused(celery: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        dispatch.make_app(config(**celery))
    assert str(raised.value).startswith(message)
