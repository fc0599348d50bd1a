"""The one place where a Celery app is made, and the way from us to the broker: task names, queues, messages.

Called by wiring.py (clients), tasks/entry.py (workers) and beat. Knows nothing of what tasks do.
"""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import celery
import kombu.exceptions
import redis.exceptions
from celery import canvas
from celery.app import defaults

from occo_celery import errors, settings, transport
from occo_celery.model.instance import Operation, OperationKind
from occo_celery.model.message import Chain, Claim

PASS = "enactor-pass"  # noqa: S105  # a name, not a password
CREATE = "create-node"
DROP = "drop-node"
DROP_LEVEL = "drop-level"
SWEEP = "sweep"
FINISH = "finish"
SWEEP_ACCOUNT = "sweep-account"

#: Two worker programs, so that a slow cloud never starves the passes. The same in client and worker: the later links
#: of a chain are routed by the worker.
QUEUES = {
    PASS: "passes",
    CREATE: "instructions",
    DROP: "instructions",
    DROP_LEVEL: "instructions",
    SWEEP: "instructions",
    FINISH: "instructions",
    SWEEP_ACCOUNT: "instructions",
}

#: Seconds after which the broker gives a message that was not acknowledged to somebody else.
VISIBILITY = 600
#: Seconds after which a task is killed: below VISIBILITY, or a long one would run twice. Holds for prefork; threads
#: cannot be killed, there the time-outs of the calls to clouds bound a task.
TIME_LIMIT = 300
#: Seconds that a broker which does not answer may hold up whoever publishes.
PATIENCE = 2.0
#: Threads of a process that publish at the same time; one more waits until another has been answered or given up.
PUBLISHERS = 64


def make_app(config: settings.Settings) -> celery.Celery:
    """The Celery app of an installation, the same for clients, workers and beat.

    Raises ConfigurationError for a setting of Celery's that does not exist, or would break what is promised.
    """
    app = celery.Celery("occo_celery", broker=config.broker_url, amqp=transport.AMQP, set_as_current=False)
    app.conf.update(
        # Messages are names of rows; nothing else can be in them, so nothing else is accepted.
        task_serializer="json",
        accept_content=["json"],
        # What came of a task is in the UDS.
        task_ignore_result=True,
        # Nobody's clock matters to a message, but people read them.
        enable_utc=True,
        timezone="UTC",
        task_routes={name: {"queue": queue} for name, queue in QUEUES.items()},
        task_default_queue="passes",
        # A worker that dies leaves its message to another; SQL makes running it twice harmless.
        task_acks_late=True,
        # A message waits at the broker, where any worker can take it, and not in a busy worker.
        worker_prefetch_multiplier=1,
        # The message of a killed child is not put back: SQL asks again, and counts. Teardown links say otherwise.
        task_reject_on_worker_lost=False,
        task_time_limit=TIME_LIMIT,
        # SIGQUIT, or a second Ctrl-C: finish what runs, for so many seconds. SIGTERM waits until all is finished.
        worker_soft_shutdown_timeout=10.0,
        # True would kill every task in flight when the broker is away for a moment.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Workers and beat wait for a broker that comes up later than they do.
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=PATIENCE,
        # More than the threads of a worker: behind a broker that is frozen they would queue, PATIENCE each.
        broker_pool_limit=PUBLISHERS,
        # What cannot be published now falls due again in SQL; waiting here would hold up everything else.
        task_publish_retry=False,
        broker_transport_options={
            "visibility_timeout": VISIBILITY,
            # A frozen broker must not freeze us.
            "socket_timeout": PATIENCE,
            "socket_connect_timeout": PATIENCE,
            "socket_keepalive": True,
            "retry_on_timeout": False,
        },
        # Logging is what the configuration says, not what Celery would make of it.
        worker_hijack_root_logger=False,
        # Sends events of tasks together: each message of them costs as much as a short task.
        worker_consumer="occo_celery.tasks.consumer:Consumer",
        # For Flower; `worker -E` (as in the Procfile) sends events, at some cost.
        task_send_sent_event=False,
        # Nothing static: what must run once is a row.
        beat_schedule={},
        beat_max_loop_interval=config.enactor.beat_poll,
    )
    if config.broker_url.startswith("rediss://"):
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    _override(app, config)
    return app


def _override(app: celery.Celery, config: settings.Settings) -> None:
    """Put the operator's settings of Celery over ours.

    Only names that Celery has today: it also takes old spellings (CELERY_ACKS_LATE), which would get around
    settings.FIXED_CELERY. Transport options are merged: a prefix for keys must not cost us the time-outs.
    """
    given: dict[str, Any] = dict(config.celery)
    for key in given:
        if key not in defaults.SETTING_KEYS:
            near = difflib.get_close_matches(key.lower(), defaults.SETTING_KEYS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise errors.ConfigurationError(f"{config.source}: celery.{key} is not a setting of Celery{hint}")
    options = given.pop("broker_transport_options", None) or {}
    if not isinstance(options, dict):
        raise errors.ConfigurationError(f"{config.source}: celery.broker_transport_options is a mapping")
    app.conf.update(given)
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, **options}
    limit, visibility = app.conf.task_time_limit, app.conf.broker_transport_options["visibility_timeout"]
    if not all(isinstance(one, int | float) for one in (limit, visibility)) or limit >= visibility:
        raise errors.ConfigurationError(
            f"{config.source}: celery.task_time_limit is {limit} s and visibility_timeout {visibility} s; the first "
            "must be the smaller, or a long task would run twice"
        )


class Dispatch:
    """Sends messages; implements model.message.Send. Safe to use from many threads."""

    def __init__(self, app: celery.Celery, config: settings.Settings) -> None:
        self._app, self._config = app, config

    def passes(self, claim: Claim) -> None:
        """One message for one infrastructure or a set that was claimed together. It says what it is to people who
        watch (``argsrepr``): a single pass by name, a set by its size."""
        count = len(claim.infra_ids)
        name = f", name={claim.name}" if claim.name else ""
        shown = f"(infra_id={claim.infra_ids[0]}{name})" if count == 1 else f"({PASS} x{count})"
        with self._answers():
            self._app.send_task(
                PASS,
                args=[claim.token, list(claim.infra_ids)],
                kwargs={"woken": True} if claim.woken else None,
                argsrepr=shown,
                # No ``expires``: it goes by the clocks of two hosts. What is superseded has no current token.
                countdown=claim.after or None,
            )

    def operations(self, operations: Sequence[Operation]) -> None:
        """Instructions of one kind travel in sets of a bounded size."""
        creations = [one for one in operations if one.kind is OperationKind.CREATE]
        drops = [one for one in operations if one.kind in (OperationKind.DROP, OperationKind.STRAY)]
        size = self._config.instructions.batch
        for name, some in ((CREATE, creations), (DROP, drops)):
            for start in range(0, len(some), size):
                self._send_operations(name, some[start : start + size])

    def _send_operations(self, name: str, some: Sequence[Operation]) -> None:
        first = some[0]
        shown = f"(node={first.node_name}, infra_id={first.infra_id}, node_id={first.target})"
        with self._answers():
            self._app.send_task(
                name,
                args=[[one.target for one in some]],
                argsrepr=shown if len(some) == 1 else f"({name} x{len(some)}, infra_id={first.infra_id})",
            )

    def teardown(self, chain: Chain) -> None:
        """One chain of links by name; each stage is a link, those that are over are left out."""
        stages = [*([DROP_LEVEL] * chain.levels), SWEEP, FINISH]
        links = [
            self._app.signature(
                name,
                args=[chain.infra_id, chain.token, stage],
                immutable=True,
                options={"argsrepr": f"(infra_id={chain.infra_id}, name={chain.name}, stage={stage})"},
            )
            for stage, name in enumerate(stages)
            if stage >= chain.stage
        ]
        with self._answers():
            canvas.chain(*links, app=self._app).apply_async()

    def sweep(self, account: str) -> None:
        """One message an account."""
        with self._answers():
            self._app.send_task(SWEEP_ACCOUNT, args=[account], argsrepr=f"(account={account})")

    def check(self) -> None:
        """Raise BrokerUnavailable if the broker does not answer now."""
        with self._answers(), self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=PATIENCE, interval_start=0, interval_step=0.1)
            connection.default_channel.client.ping()

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except (kombu.exceptions.OperationalError, redis.exceptions.RedisError, OSError) as problem:
            raise errors.BrokerUnavailable(
                f"the message broker {_masked(self._config.broker_url)} does not answer: {problem}; "
                "is it running? `occo up` starts everything on one machine"
            ) from problem


def _masked(url: str) -> str:
    """A URL without what stands before its host and without its options: both can hold passwords."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
