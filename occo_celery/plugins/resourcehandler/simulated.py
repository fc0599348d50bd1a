"""The resource handler `simulated`: a cloud with set latency, failures, quotas and clock, for tests and benchmarks.

The cloud lives in its own SQLite file (simulated_cloud.py), never in a worker's memory. It behaves as real ones do:
it takes time, it tags and lists, lists lag behind, calls fail, or seem to. Found by the registry as `simulated`, and
as `simulated_no_tokens` for the kind of cloud that knows no idempotency tokens (Nova, CloudSigma). Both show one and
the same account when they have the same endpoint.

Nothing answers at the addresses that it gives (10.x.y.z): health checks must not be pointed at them.

Options (this handler's part of the configuration): `database`, the path of the file; `behaviour`, a mapping with keys
of simulated_cloud.Behaviour, which SimulatedCloud.set overrides. Tests and simulation may also hand over
`clock` (a callable like time.time), `sleep` (like time.sleep), `random` (a random.Random) and `accounts` (a
SimulatedCloud of their own for an endpoint).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pydantic

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base, sections, simulated_cloud

DATABASE = "~/.occopus/simulated.sqlite"
ENDPOINT = "default"

#: What tests and benchmarks use beside the handler.
SimulatedCloud = simulated_cloud.SimulatedCloud


class _Section(pydantic.BaseModel):
    """What both sections have in common. An image called ``missing`` is not there: a PermanentError at create."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    name: str | None = None
    endpoint: str = ENDPOINT
    instance_type: str = "small"
    image: str = "image"


class SimulatedSection(_Section):
    type: Literal["simulated"]


class SimulatedWithoutTokensSection(_Section):
    type: Literal["simulated_no_tokens"]


class SimulatedHandler(base.ResourceHandler):
    """A simulated cloud with idempotency tokens, as EC2 has them."""

    kind: ClassVar[str] = "simulated"
    traits = base.Traits(idempotent=True, settle=2.0, absence_grace=2.0)  # for lists up to 2 s stale
    schema: ClassVar[type[_Section]] = SimulatedSection

    @classmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        return f"{cls.kind}:{_database(options)}:{_endpoint(section)}"

    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self._configured = dict(options.get("behaviour") or {})
        try:
            simulated_cloud.Behaviour.model_validate(self._configured)
        except pydantic.ValidationError as problem:
            raise errors.ConfigurationError(f"resourcehandler {self.kind}: behaviour: {problem}") from problem
        self._clock = options.get("clock", time.time)
        self._sleep = options.get("sleep", time.sleep)
        # not seeded: forked workers would all draw the same
        self._random: random.Random = options.get("random") or random.SystemRandom()
        accounts: Mapping[str, SimulatedCloud] = options.get("accounts") or {}
        self._cloud = accounts.get(_endpoint(section)) or SimulatedCloud(
            _database(options), _endpoint(section), clock=self._clock
        )

    def create(self, creation: base.Creation) -> base.Seen:
        behaviour, late = self._arrive("create", creation.timeout)
        section = self._valid(creation.section)
        with self._cloud.transaction():
            tokens = self.traits.idempotent and behaviour.tokens
            instance = self._cloud.of_token(creation.node_id) if tokens else None
            if instance is None:
                instance = self._launch(creation, section, behaviour, self._clock() + late)
            elif behaviour.strict_tokens:
                _same_parameters(instance, creation, section)
        self._answer(behaviour, late)
        return instance.seen(self._clock())

    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[base.Seen, ...]]:
        then = self._read("observe", timeout)
        for _ in range(simulated_cloud.PAGE, len(node_ids), simulated_cloud.PAGE):
            self._cloud.count("observe")  # each further page is a call of its own
        found: dict[str, tuple[base.Seen, ...]] = dict.fromkeys(node_ids, ())
        for instance in self._cloud.listed_nodes(node_ids, then):
            found[instance.node_id] += (instance.seen(then),)
        return found

    def drop(self, instance_id: str, timeout: float) -> None:
        behaviour, late = self._arrive("drop", timeout)
        now = self._clock() + late
        self._cloud.end(instance_id, dropped_at=now, gone_at=now + behaviour.shutdown_time)
        self._answer(behaviour, late)

    def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
        then = self._read("sweep", timeout)
        return tuple(instance.seen(then) for instance in self._cloud.listed_infra(infra_id, then))

    def logs(self, instance_id: str, lines: int, timeout: float) -> str:
        self._read("logs", timeout)
        instance = self._cloud.with_id(instance_id)
        if instance is None:
            raise errors.PermanentError(f"InvalidInstanceID.NotFound: there is no instance {instance_id}")
        console = _console(instance, self._clock())
        return "\n".join(console[max(0, len(console) - lines) :])

    # --- what comes between a caller and what it wants ----------------------------------------------

    def _arrive(self, kind: str, timeout: float) -> tuple[simulated_cloud.Behaviour, float]:
        """Every call comes in here: it is counted, takes its time and may be refused.

        Returns the behaviour, and by how many seconds the cloud carries the call out later than the caller waits.
        """
        self._cloud.count(kind)
        behaviour = self._cloud.behaviour(self._configured)
        if behaviour.latency:
            self._sleep(min(behaviour.latency, timeout))
        if behaviour.silent:
            raise errors.CloudSilent(f"the simulated cloud {self._cloud.endpoint} does not answer")
        if behaviour.throttled:
            raise errors.TransientError("RequestLimitExceeded", delay=behaviour.throttled)
        if self._happens(behaviour.failure_rate):
            raise errors.TransientError("InternalError: the simulated cloud failed; nothing was done")
        return behaviour, max(0.0, behaviour.latency - timeout)

    def _read(self, kind: str, timeout: float) -> float:
        """Arrive to read; returns the time as of which lists show the account."""
        behaviour, late = self._arrive(kind, timeout)
        if late:
            raise errors.CloudSilent(f"the simulated cloud did not answer {kind} within {timeout:g} s")
        now: float = self._clock()
        return now - behaviour.stale

    def _answer(self, behaviour: simulated_cloud.Behaviour, late: float) -> None:
        """A write is done, or will be; the caller may never learn of it."""
        if late or self._happens(behaviour.timeout_rate):
            raise errors.OutcomeUnknown("the simulated cloud took the call, but its answer did not come back in time")

    def _launch(
        self, creation: base.Creation, section: _Section, behaviour: simulated_cloud.Behaviour, created: float
    ) -> simulated_cloud.Instance:
        """A new instance, if the account lets it be."""
        if section.image == "missing":
            raise errors.PermanentError(f"InvalidAMIID.NotFound: the image {section.image!r} does not exist")
        if behaviour.quota is not None and self._cloud.used(self._clock()) >= behaviour.quota:
            raise errors.CapacityError(f"InstanceLimitExceeded: the quota is {behaviour.quota} instances")
        if self._happens(behaviour.capacity_failure_rate):
            raise errors.CapacityError(f"InsufficientInstanceCapacity: no room for {section.instance_type!r} now")
        return self._cloud.insert(
            creation,
            image=section.image,
            instance_type=section.instance_type,
            created=created,
            boots=None if self._happens(behaviour.hang_rate) else behaviour.boot_time,
            broken=self._happens(behaviour.broken_rate),
        )

    def _valid(self, section: Mapping[str, Any]) -> _Section:
        return sections.valid(self.schema, section, "InvalidParameter")

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate


class SimulatedWithoutTokens(SimulatedHandler):
    """A simulated cloud without idempotency tokens: creating again makes a second instance."""

    kind = "simulated_no_tokens"
    traits = base.Traits(idempotent=False, settle=3.0, absence_grace=3.0)
    schema = SimulatedWithoutTokensSection


def _database(options: Mapping[str, Any]) -> str:
    return os.path.abspath(os.path.expanduser(str(options.get("database") or DATABASE)))


def _endpoint(section: Mapping[str, Any]) -> str:
    return str(section.get("endpoint") or ENDPOINT)


def _same_parameters(instance: simulated_cloud.Instance, creation: base.Creation, section: _Section) -> None:
    """Raises PermanentError when the token was first used for something else."""
    first = (instance.infra_id, instance.image, instance.instance_type, instance.user_data)
    if first != (creation.infra_id, section.image, section.instance_type, creation.user_data):
        raise errors.PermanentError(
            f"IdempotentParameterMismatch: token {creation.node_id} had other parameters before"
        )


def _console(instance: simulated_cloud.Instance, now: float) -> list[str]:
    """What the machine has printed by now; of its user data only the size."""
    lines = [
        f"[    0.000] booting {instance.image} on {instance.instance_type} as {instance.instance_id}",
        f"[    0.010] eth0: {instance.address}",
        f"[    0.020] cloud-init: {len(instance.user_data or '')} characters of user data",
    ]
    seen = instance.seen(now)
    if seen.state is not status.NodeStatus.PENDING:
        lines.append(f"[{seen.reason.since - instance.created:9.3f}] {seen.reason.code}")
    if seen.state is status.NodeStatus.READY:
        lines.append(f"{instance.node_name} login:")
    return lines
