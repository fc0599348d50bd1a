"""Changes to infrastructures that are there: scaling, updating, suspending, retrying, replacing.

Each is one transaction that locks the infrastructure's row, refuses what cannot be, and asks for a pass, which acts.
Called by InfrastructureManager, whose methods say what is promised. Functions return the claim of the pass that is to
be published after the commit, None if there is none (not managed, suspended, or a pass is running and will see it).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from occo_celery import errors, wiring
from occo_celery.infraprocessor import withdraw
from occo_celery.model import description, instance
from occo_celery.model.message import Claim
from occo_celery.model.request import Kind, Request
from occo_celery.planner import scaling
from occo_celery.uds import definitions, events, infrastructures, nodes, operations, requests, schedule

UPDATES = ("rolling", "recreate", "ignore")


def submitted(connection: sa.Connection, infra_id: str) -> infrastructures.Infrastructure:
    """The row, locked. Raises InfrastructureIDNotFoundException when it is not there or is ending."""
    infra = infrastructures.lock(connection, infra_id)
    must_stand(infra)
    return infra


def must_stand(infra: infrastructures.Infrastructure) -> None:
    """Raises InfrastructureIDNotFoundException when it is ending."""
    if infra.phase is not instance.Phase.SUBMITTED:
        words = {instance.Phase.TEARING_DOWN: "being torn down", instance.Phase.TORN_DOWN: "torn down"}
        raise errors.InfrastructureIDNotFoundException(
            f"infrastructure {infra.infra_id} is {words[infra.phase]}, it cannot be changed any more; submit it again"
        )


def scale(
    system: wiring.System, connection: sa.Connection, infra_id: str, request: Request, named: str | None = None
) -> tuple[int, Claim | None]:
    """Record a request; returns the count that the node is to have when all requests so far are carried out.

    named: node_id or address of the instance that is to go.
    """
    if request.count < (0 if request.kind is Kind.TO else 1):
        raise errors.ScalingError(f"a node cannot be scaled by {request.count}; a count of at least 1 is wanted")
    infra = submitted(connection, infra_id)
    desired = system.descriptions.one(connection, infra)
    node = _node(desired, request.node_name, infra_id)
    pending = requests.of(connection, [infra_id]).get(infra_id, ())
    if named is not None:
        node_id = _named(nodes.of(connection, infra_id), node.name, named)
        if any(one.node_id == node_id for one in pending):
            raise errors.ScalingError(f"instance {node_id} of node {node.name!r} is to be dropped already")
        request = Request(node_name=node.name, kind=request.kind, count=request.count, node_id=node_id)
    outcome = scaling.apply(desired, infra.targets, [*pending, request]).applied[-1]
    if outcome.asked != outcome.after:
        raise errors.ScalingError(
            f"node {node.name!r} of infrastructure {infra_id} would have {outcome.asked} instances; its limits are "
            f"{node.scaling.min} to {node.scaling.max}, it has {outcome.before} now "
            "(`occo update` changes limits)"
        )
    requests.insert(connection, infra_id, request, now=system.now())
    return outcome.after, _unready(system, connection, infra)


def _node(desired: description.StaticDescription, name: str, infra_id: str) -> description.NodeDescription:
    if name in desired.node_lookup:
        return desired.node_lookup[name]
    near = difflib.get_close_matches(name, desired.node_lookup, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(desired.node_lookup)}"
    raise errors.NodeNotFoundException(f"infrastructure {infra_id} has no node {name!r}; {hint}")


def _named(instances: Sequence[instance.Instance], node_name: str, named: str) -> str:
    """The node_id of an instance that is named by its node_id or by one of its addresses."""
    mine = [one for one in instances if one.node_name == node_name and one.alive]
    for one in mine:
        if named == one.node_id or named in one.addresses:
            return one.node_id
    there = ", ".join(f"{one.node_id} ({one.addresses[0] if one.addresses else 'no address yet'})" for one in mine)
    raise errors.NodeNotFoundException(
        f"node {node_name!r} has no instance {named!r}; its instances: {there or 'none'}"
    )


def update(
    system: wiring.System,
    connection: sa.Connection,
    infra_id: str,
    compiled: description.StaticDescription,
    how: str,
) -> tuple[int, Claim | None]:
    """Store a new revision and mark what is to be replaced; returns the generation that holds from now on."""
    infra = submitted(connection, infra_id)
    must_keep_its_name(infra, compiled)
    now, generation = system.now(), infra.generation
    if compiled.to_json() != system.descriptions.one(connection, infra).to_json():
        generation += 1
        infrastructures.revise(connection, compiled, generation=generation, now=now)
    known = definitions.load(connection, {node.type for node in compiled.nodes})
    for node in nodes.of(connection, infra_id):
        if (outdated := replacement(node, compiled, known, how)) is not node.outdated and node.alive:
            nodes.mark(connection, node.node_id, outdated)
    operations.reconsider(connection, now=now, infra_id=infra_id)
    events.add(connection, infra_id, "infraupdated", now=now, generation=generation, update=how)
    return generation, _unready(system, connection, infra)


def must_keep_its_name(infra: infrastructures.Infrastructure, compiled: description.StaticDescription) -> None:
    """Raises UpdateError when a new description has another name."""
    if compiled.name != infra.name:
        raise errors.UpdateError(
            f"infrastructure {infra.infra_id} is called {infra.name!r}, the new description says {compiled.name!r}: "
            "an infrastructure keeps its infra_name; build another one instead"
        )


def replacement(
    node: instance.Instance,
    compiled: description.StaticDescription,
    known: Mapping[str, Sequence[Mapping[str, Any]]],
    how: str,
) -> instance.Replacement | None:
    """How an instance is to be replaced under a new description; None if it may stay. What a user asked to have
    replaced by hand stays so."""
    wanted = compiled.node_lookup.get(node.node_name)
    stays = node.outdated if node.outdated is instance.Replacement.ASKED else None
    if wanted is None or node.implementation is None or how == "ignore":
        return stays  # dropped, or made from the new one, or left as it is
    implementations = known.get(wanted.type, [])
    from occo_celery.infraprocessor import resolve  # most changes resolve nothing

    meant = [implementations[position] for position in resolve.meeting(wanted, implementations)]
    if node.implementation in meant and resolve.is_made_from(node, wanted):
        return stays
    return instance.Replacement(how)


def suspend(system: wiring.System, connection: sa.Connection, infra_id: str) -> None:
    """No pass is made and nothing begins any more; the schedule is kept."""
    infra, now = submitted(connection, infra_id), system.now()
    if schedule.get(connection, infra_id) is None:
        raise errors.InfrastructureIDNotFoundException(
            f"infrastructure {infra_id} is not being provisioned, there is nothing to suspend"
        )
    if infra.suspended:
        raise errors.InfrastructureSuspendedError(f"infrastructure {infra_id} is suspended already")
    # A pass that is running loses its lease, so nothing that it decides is written.
    infrastructures.change(connection, infra_id, suspended=True, pass_token=None, lease_until=None, ready_since=None)
    withdraw.withdraw(connection, infra_id, now=now)
    schedule.rest(connection, infra_id)
    events.add(connection, infra_id, "infrasuspended", now=now)


def resume(system: wiring.System, connection: sa.Connection, infra_id: str) -> Claim | None:
    infra, now = submitted(connection, infra_id), system.now()
    if not infra.suspended:
        raise errors.InfrastructureSuspendedError(f"infrastructure {infra_id} is not suspended")
    infrastructures.change(connection, infra_id, suspended=False)
    events.add(connection, infra_id, "infraresumed", now=now)
    return schedule.wake(connection, infra_id, now=now, token=system.new_id())


def retry(
    system: wiring.System, connection: sa.Connection, infra_id: str, node: str | None
) -> Sequence[instance.Operation]:
    """Let operations that wait, for their time or for a change, be tried now; returns them, to be sent."""
    infrastructures.lock(connection, infra_id)
    waiting = [
        one
        for one in operations.of(connection, infra_id)
        if one.lease_until is None and one.attempts > 0 and node in (None, one.node_name, one.target)
    ]
    there = nodes.of(connection, infra_id)
    if node is not None and not any(node in (one.node_name, one.node_id) for one in there):
        raise errors.NodeNotFoundException(f"infrastructure {infra_id} has no node and no instance {node!r}")
    operations.retry(connection, [one.target for one in waiting], now=system.now())
    return waiting


def replace(system: wiring.System, connection: sa.Connection, node_id: str) -> Claim | None:
    """Mark one instance: another is made in its place, and when that is ready this one is dropped."""
    found = nodes.get(connection, node_id)
    infra = submitted(connection, found.infra_id) if found is not None else None
    node = nodes.get(connection, node_id)  # as it is under the lock
    if infra is None or node is None or not node.alive or node.implementation is None:
        state = "" if node is None else f" that could be replaced: it is {node.lifecycle}"
        raise errors.NodeNotFoundException(
            f"there is no instance {node_id!r}{state}; `occo report INFRA_ID` shows those that there are"
        )
    nodes.mark(connection, node_id, instance.Replacement.ASKED)
    now = system.now()
    events.add(connection, infra.infra_id, "nodereplacing", now=now, node_id=node_id, node=node.node_name)
    return _unready(system, connection, infra)


def _unready(system: wiring.System, connection: sa.Connection, infra: infrastructures.Infrastructure) -> Claim | None:
    """Something is asked for, so it is not as it should be until a pass has said so."""
    infrastructures.change(connection, infra.infra_id, ready_since=None)
    return schedule.wake(connection, infra.infra_id, now=system.now(), token=system.new_id())
