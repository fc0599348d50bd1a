"""What the next pass would do, or the first one under another description. Looks, and writes nothing.

Called by InfrastructureManager.plan.
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from occo_celery import errors, wiring
from occo_celery.api import changes
from occo_celery.enactor import passes
from occo_celery.model import description, instruction
from occo_celery.uds import accounts, definitions, infrastructures, leases, nodes, requests, schedule


def plan(
    system: wiring.System, infra_id: str, compiled: description.StaticDescription | None, how: str, strategy: str
) -> instruction.Delta:
    """The delta between what is wanted and what is there now.

    compiled: an update to this, done as ``how`` says, would come first. strategy: if it is not managed.
    """
    with system.store.read() as connection:
        work = _work(system, connection, infra_id, compiled, how, strategy)
    (draft,) = system.enactor.examine(work).drafts
    if draft.error is not None:
        raise errors.OccoError(f"infrastructure {infra_id} cannot be planned: {draft.error}")
    return draft.delta


def _work(
    system: wiring.System,
    connection: sa.Connection,
    infra_id: str,
    compiled: description.StaticDescription | None,
    how: str,
    strategy: str,
) -> passes.Work:
    """What a pass would work on, were it to begin now."""
    infra = infrastructures.get(connection, infra_id)
    changes.must_stand(infra)
    there = nodes.of(connection, infra_id)
    if compiled is not None:
        changes.must_keep_its_name(infra, compiled)
        known = definitions.load(connection, {node.type for node in compiled.nodes})
        there = [replace(one, outdated=changes.replacement(one, compiled, known, how)) for one in there]
    row = schedule.get(connection, infra_id) or _row(infra, strategy)
    silent = accounts.silent(connection)
    return passes.Work(
        leased=[leases.Leased(infra=infra, row=row, instances=tuple(there))],
        descriptions={infra_id: compiled or system.descriptions.one(connection, infra)},
        requests=requests.of(connection, [infra_id]),
        silent={name: passes.SILENT for name, until in silent.items() if until is not None},
    )


def _row(infra: infrastructures.Infrastructure, strategy: str) -> schedule.Row:
    """As it would be if the infrastructure were attached."""
    return schedule.Row(
        infra_id=infra.infra_id,
        attach_epoch=infra.attach_epoch,
        interval=schedule.NEVER,
        longest=schedule.NEVER,
        pace=schedule.NEVER,
        phase=0.0,
        strategy=strategy,
        next_due=schedule.NEVER,
        claim_token=None,
        started=0.0,
        last_pass=None,
        last_duration=0.0,
        passes=0,
        last_error=None,
    )
