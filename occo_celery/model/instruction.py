"""The instructions of a delta: data only. Passes record them, infraprocessor/ performs what was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

from occo_celery.model import status


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateInfrastructure:
    """The first pass of an infrastructure: its environments are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNode:
    """One more instance of a node; the shell gives it its node_id."""

    node_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropNode:
    """End one instance. version: the row's version that was planned with; why: for events and people."""

    node_id: str
    node_name: str
    version: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceNode:
    """Have another made in the place of one instance, which is dropped by a later pass, when that one is ready."""

    node_id: str
    node_name: str


Instruction = CreateInfrastructure | CreateNode | DropNode | ReplaceNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What leads from the observed to the desired state, in order.

    waiting: for each node that lacks instances and may not have them yet, why.
    ready: every node has its target count ready and nothing is left to do.
    """

    instructions: tuple[Instruction, ...] = ()
    waiting: dict[str, status.Reason] = field(default_factory=dict)
    ready: bool = False
