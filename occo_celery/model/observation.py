"""What a pass saw of one instance, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass

from occo_celery.model.status import Finding, NodeStatus, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One instance that the cloud lists under the tag of a node_id."""

    instance_id: str
    state: NodeStatus
    reason: Reason
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was found out about an instance.

    sightings: None when its account did not answer (``silence`` says why), empty when it is not listed.
    config, health: what the config manager and the checks say; None when not asked, or nothing to complain of.
    The time-outs are those of its implementation, in seconds; absence_grace that of its handler.
    """

    sightings: tuple[Sighting, ...] | None
    silence: Reason | None = None
    config: Finding | None = None
    health: Finding | None = None
    create_timeout: float = 1800.0
    health_timeout: float = 600.0
    absence_grace: float = 0.0

    def recorded(self, instance_id: str | None) -> Sighting | None:
        """The sighting of the instance that is on record."""
        return next((one for one in self.sightings or () if one.instance_id == instance_id), None)

    def strays(self, instance_id: str | None) -> tuple[Sighting, ...]:
        """Other instances that bear its tag and are not ending already."""
        ended = (NodeStatus.SHUTDOWN, NodeStatus.FAILED)
        return tuple(one for one in self.sightings or () if one.instance_id != instance_id and one.state not in ended)
