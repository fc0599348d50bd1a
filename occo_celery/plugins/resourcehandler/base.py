"""The contract of a resource handler: it starts things and looks at them; it never waits.

One object is made per process and cloud account and used from many threads at once. Every call must end
within the ``timeout`` that it is given. Handlers know nothing of SQL, Celery or the planner. The contract is
stated as tests in tests/contract/; every handler passes them.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import pydantic

from occo_celery import errors
from occo_celery.model import status


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a cloud promises; the shell's guards rest on it.

    idempotent: creating again with the same node_id makes no second instance (tokens or unique names).
    settle: seconds after a call's deadline until which the cloud may still carry it out or not list it yet.
    absence_grace: seconds since an instance was made or last seen for which not being listed means nothing.
    """

    idempotent: bool
    settle: float
    absence_grace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What to make. node_id is the idempotency token and a tag, infra_id a tag.

    section: the rendered ``resource`` section, valid by the handler's schema.
    user_data, attributes, environment, command: the rendered context (may hold secrets: never log it).
    timeout: seconds that the call may take.
    """

    node_id: str
    infra_id: str
    node_name: str
    section: Mapping[str, Any]
    user_data: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] | str | None = None
    timeout: float = 20.0


class Seen(NamedTuple):
    """One instance that the cloud lists under our tags (a tuple, as lists are made of thousands of them).

    state: READY (it runs; health is others' concern), PENDING, SHUTDOWN, FAILED or UNKNOWN.
    addresses: in Occopus' order, the one that other nodes should use first; empty until known.
    """

    node_id: str
    infra_id: str
    instance_id: str
    state: status.NodeStatus
    reason: status.Reason
    addresses: tuple[str, ...] = ()


class ResourceHandler(abc.ABC):
    """A cloud account, or something that can be treated as one.

    Errors of every call: TransientError (refused, nothing changed), CapacityError, OutcomeUnknown (sent, result
    not known), CloudSilent (no answer), PermanentError. Any other exception is taken for OutcomeUnknown.
    """

    traits: ClassVar[Traits]
    #: Checks a ``resource`` section at import; unknown keys are refused by it.
    schema: ClassVar[type[pydantic.BaseModel]]

    @classmethod
    @abc.abstractmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """The name of the cloud account that a section leads to, e.g. ``simulated:/var/cloud.db``.

        The name is stored with each instance, is the unit of batching, budgets and silence, and holds no secret.
        options: this handler's part of the configuration.
        """

    @abc.abstractmethod
    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Cheap: connections are made when first used. ``section`` is any section leading to this account."""

    @abc.abstractmethod
    def create(self, creation: Creation) -> Seen:
        """Make one instance, or return the one that this node_id already has. Returns while it still boots."""

    @abc.abstractmethod
    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[Seen, ...]]:
        """What the cloud lists for these node_ids, in as few calls as its API has.

        Every node_id is a key; an empty tuple means not listed, several mean strays. Raises CloudSilent.
        """

    @abc.abstractmethod
    def drop(self, instance_id: str, timeout: float) -> None:
        """Ask for the end of an instance. Dropping what is gone, or going, is success. May be called again
        and again until the instance is no longer listed; a handler may press harder each time."""

    @abc.abstractmethod
    def sweep(self, infra_id: str | None, timeout: float) -> tuple[Seen, ...]:
        """All that the account holds under the tag of this infrastructure; None: under any infrastructure's tag,
        those of other installations on the same account included. Raises CloudSilent."""

    def forget(self, node_id: str) -> None:  # noqa: B027  # most handlers keep nothing
        """The instance is archived: free what the handler kept of it on its own (an address lease, say)."""

    def logs(self, instance_id: str, lines: int, timeout: float) -> str:
        """The last lines of the console or output. Raises PermanentError where the cloud keeps none."""
        raise errors.PermanentError("this cloud keeps no console output of its instances")
