"""InfrastructureManager: submit, provision, detach and tear down infrastructures. The API of Occopus, name for name.

The state is in the UDS, so any number of managers, in any process, see the same thing. Every change is one
transaction that locks the infrastructure's row; messages go out after it, and beat sends again what gets lost.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from occo_celery import errors, wiring
from occo_celery.api import changes, occoapp, waiting
from occo_celery.api import report as reports
from occo_celery.api.process import InfrastructureMaintenanceProcess
from occo_celery.api.torn import TearDown
from occo_celery.infraprocessor import teardown, withdraw
from occo_celery.model import description, instance, instruction
from occo_celery.model.message import Claim
from occo_celery.model.request import Kind, Request
from occo_celery.uds import definitions, events, infrastructures, nodes, operations, schedule

__all__ = ["InfrastructureMaintenanceProcess", "InfrastructureManager", "TearDown"]

log = logging.getLogger(__name__)

Description = str | pathlib.Path | Mapping[str, Any]
STRATEGIES = ("sequential", "parallel")


class InfrastructureManager:
    """Manages a set of infrastructures.

    process_strategy: ``sequential`` or ``parallel``, of the infrastructures that this manager attaches.
    enactor_interval: longest time between two passes, seconds; the configuration's by default.
    longest_interval: while everything is as it should be and nothing happens, the interval doubles from pass to pass,
    up to this, seconds; whatever happens brings it back. The configuration's by default; if that is not more than
    enactor_interval, the interval stays the same.
    system: what to work with; by default what occoapp.setup() made, or the usual configuration.

    Raises ValueError for a strategy that there is not, and for a longest_interval below enactor_interval.
    """

    def __init__(
        self,
        process_strategy: str = "sequential",
        *,
        enactor_interval: float | None = None,
        longest_interval: float | None = None,
        system: wiring.System | None = None,
    ) -> None:
        if process_strategy not in STRATEGIES:
            raise ValueError(f"process_strategy is {process_strategy!r}, it can be: {', '.join(STRATEGIES)}")
        self.process_strategy = process_strategy
        self._system = system or occoapp.system()
        configured = self._system.settings.enactor
        self.enactor_interval = enactor_interval or configured.interval
        if longest_interval is not None and longest_interval < self.enactor_interval:
            raise ValueError(
                f"longest_interval is {longest_interval:g} s, less than the interval, {self.enactor_interval:g} s: "
                "the interval can only grow"
            )
        self.longest_interval = max(self.enactor_interval, longest_interval or configured.longest_interval)

    # --- submitting -------------------------------------------------------------------------------------------

    def import_definitions(self, path: str | pathlib.Path) -> Sequence[str]:
        """Import a file of node definitions: all of it or nothing. Returns the node types.

        Raises SchemaError. A type that is there already is replaced; running instances stay as they are. A secret
        that is written out is stored encrypted, with a warning; it is refused when there is no key.
        """
        from occo_celery.api import importing  # most commands import nothing

        encryption = self._system.encryption
        loaded = importing.load(pathlib.Path(path), encryption)
        self._warn(loaded.warnings)
        with self._system.store.write() as connection:
            earlier = definitions.load(connection, loaded.definitions.keys())
            settled = encryption.settled(loaded.definitions, earlier)
            definitions.replace(connection, settled, now=self._system.now())
        return tuple(loaded.definitions)

    def submit_infrastructure(self, infra_desc: Description) -> str:
        """Compile an infrastructure and store it in the UDS; nothing is provisioned yet.

        infra_desc: YAML text, the path of a file, or a mapping. Returns the infra_id. Raises SchemaError.
        """
        compiled = self._compile(infra_desc)
        with self._system.store.write() as connection:
            infrastructures.insert(connection, compiled, now=self._system.now())
        return compiled.infra_id

    def add(self, infra_desc: Description) -> str:
        """Submit an infrastructure and start provisioning it, in one transaction. Returns the infra_id."""
        compiled = self._compile(infra_desc)
        self._system.send.check()
        with self._system.store.write() as connection:
            infrastructures.insert(connection, compiled, now=self._system.now())
            claim = self._begin_managing(connection, compiled.infra_id)
        self._publish(claim)
        return compiled.infra_id

    def _compile(self, infra_desc: Description, infra_id: str | None = None) -> description.StaticDescription:
        from occo_celery.compiler import compile as compiler  # most commands compile nothing

        with self._system.store.read() as connection:
            known = definitions.load(connection)
        infra_id = infra_id or self._system.new_id()
        compiled = compiler.compile_description(infra_desc, infra_id=infra_id, definitions=known)
        self._warn(compiled.warnings)
        return compiled.description

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            log.warning("%s", warning)

    # --- provisioning -----------------------------------------------------------------------------------------

    def start_provisioning(self, infra_id: str) -> None:
        """Start provisioning an infrastructure that is stored: passes are made on it from now on.

        Raises InfrastructureIDTakenException when it is managed already, InfrastructureIDNotFoundException when it
        is not in the UDS or is being torn down, BrokerUnavailable (nothing is changed then).
        """
        self._system.send.check()
        with self._system.store.write() as connection:
            claim = self._begin_managing(connection, infra_id)
        self._publish(claim)

    def attach(self, infra_id: str) -> None:
        """Start provisioning an existing infrastructure; see start_provisioning."""
        self.start_provisioning(infra_id)

    def _begin_managing(self, connection: Any, infra_id: str) -> Claim:
        infra = changes.submitted(connection, infra_id)
        if schedule.get(connection, infra_id) is not None:
            raise errors.InfrastructureIDTakenException(f"infrastructure {infra_id} is already being provisioned")
        epoch = infra.attach_epoch + 1
        infrastructures.change(connection, infra_id, attach_epoch=epoch, suspended=False, ready_since=None)
        claim = schedule.insert(
            connection,
            infra_id,
            epoch=epoch,
            interval=self.enactor_interval,
            longest=self.longest_interval,
            strategy=self.process_strategy,
            claim=self._system.new_id(),
            now=self._system.now(),
        )
        return replace(claim, name=infra.name)

    def _publish(self, claim: Claim | None) -> None:
        if claim is None:
            return
        try:
            self._system.send.passes(claim)
        except errors.BrokerUnavailable as problem:
            log.warning("%s; beat will send the pass", problem)

    def stop_provisioning(self, infra_id: str, wait_timeout: float = 60) -> None:
        """Stop provisioning: nothing starts any more; what has begun is finished or undone. The infrastructure stays.

        Waits up to wait_timeout seconds for what has begun; raises StillRunning, naming it, when the time passes (it
        is detached all the same), InfrastructureIDNotFoundException when it is not managed.
        """
        with self._system.store.write() as connection:
            infra, now = infrastructures.lock(connection, infra_id), self._system.now()
            if not schedule.delete(connection, infra_id):
                raise errors.InfrastructureIDNotFoundException(f"infrastructure {infra_id} is not being provisioned")
            # A pass that is running loses its lease, so nothing that it decides is written.
            infrastructures.change(
                connection, infra_id, attach_epoch=infra.attach_epoch + 1, pass_token=None, lease_until=None
            )
            withdraw.withdraw(connection, infra_id, now=now)
            begun = operations.of(connection, infra_id)
        self._hurry(begun)
        if not waiting.until(lambda: not self._running(infra_id), wait_timeout, self._system):
            running = self._running(infra_id)
            if running:
                raise errors.StillRunning(infra_id, [_instruction(one) for one in running], wait_timeout)

    def detach(self, infra_id: str) -> None:
        """Stop provisioning an existing infrastructure; see stop_provisioning."""
        self.stop_provisioning(infra_id)

    def _hurry(self, begun: Sequence[instance.Operation]) -> None:
        waiting_now = [one for one in begun if one.lease_until is None]
        if waiting_now:
            try:
                self._system.send.operations(waiting_now)
            except errors.BrokerUnavailable as problem:
                log.warning("%s; beat will send what is to be finished", problem)

    def _running(self, infra_id: str) -> Sequence[instance.Operation]:
        with self._system.store.read() as connection:
            return operations.of(connection, infra_id)

    def get(self, infra_id: str) -> InfrastructureMaintenanceProcess:
        """The managing process of an infrastructure. Raises InfrastructureIDNotFoundException when not managed."""
        process = InfrastructureMaintenanceProcess(infra_id, system=self._system)
        if not process.is_alive():
            raise errors.InfrastructureIDNotFoundException(f"infrastructure {infra_id} is not being provisioned")
        return process

    # --- foreseeing -------------------------------------------------------------------------------------------

    def plan(
        self, infra_id: str, infra_desc: Description | None = None, update: str = "rolling"
    ) -> instruction.Delta:
        """What the next pass would do, after a look at the clouds; nothing is changed.

        infra_desc: as if the infrastructure had been updated to this first, ``update`` as of update_infrastructure.
        Returns the instructions, in order, and for each node that still lacks instances what it waits for: with
        dependencies the rest follows in later passes. Raises SchemaError, UpdateError,
        InfrastructureIDNotFoundException.
        """
        _check_update(update)
        compiled = None if infra_desc is None else self._compile(infra_desc, infra_id)
        from occo_celery.api import foresight

        return foresight.plan(self._system, infra_id, compiled, update, self.process_strategy)

    # --- changing ---------------------------------------------------------------------------------------------

    def scale_up(self, infra_id: str, node_name: str, count: int = 1) -> int:
        """Ask for ``count`` more instances of a node; returns how many it is to have.

        The request is a row, which the next pass carries out; of an infrastructure that is not being provisioned it
        waits. Raises ScalingError, with the limits, when there would be too many, NodeNotFoundException,
        InfrastructureIDNotFoundException.
        """
        return self._scale(infra_id, Request(node_name=node_name, kind=Kind.UP, count=count))

    def scale_down(self, infra_id: str, node_name: str, instance: str | None = None, count: int = 1) -> int:
        """Ask for fewer instances of a node; returns how many it is to have.

        instance: the one that is to go, by its node_id or an address (count is 1 then); otherwise the failed and
        pending ones go first, then those that the configuration's ``enactor.downscale`` says. Raises as scale_up.
        """
        if instance is not None and count != 1:
            raise errors.ScalingError(f"one instance is named, so the node is scaled down by one, not by {count}")
        return self._scale(infra_id, Request(node_name=node_name, kind=Kind.DOWN, count=count), instance)

    def scale_to(self, infra_id: str, node_name: str, count: int) -> int:
        """Ask for a node to have ``count`` instances; returns that. Raises as scale_up."""
        return self._scale(infra_id, Request(node_name=node_name, kind=Kind.TO, count=count))

    def _scale(self, infra_id: str, request: Request, named: str | None = None) -> int:
        with self._system.store.write() as connection:
            count, claim = changes.scale(self._system, connection, infra_id, request, named)
        self._publish(claim)
        return count

    def update_infrastructure(self, infra_id: str, infra_desc: Description, update: str = "rolling") -> int:
        """Put a new description in the place of the old one; returns its generation, counted from 1.

        Instances whose node is unchanged stay, those of removed nodes are dropped, new ones are created. Those that
        would be made otherwise now (type, variables, or the node definition as it is imported today) are replaced:
        ``rolling``, one of a node at a time, after its replacement is ready; ``recreate``, all at once, dropped
        first; or not (``ignore``). Raises SchemaError (nothing is changed), UpdateError,
        InfrastructureIDNotFoundException.
        """
        _check_update(update)
        compiled = self._compile(infra_desc, infra_id)
        with self._system.store.write() as connection:
            generation, claim = changes.update(self._system, connection, infra_id, compiled, update)
        self._publish(claim)
        return generation

    def suspend(self, infra_id: str) -> None:
        """Let an infrastructure be: no pass is made and nothing begins until resume; what has begun is finished or
        undone. Raises InfrastructureIDNotFoundException when not managed, InfrastructureSuspendedError."""
        with self._system.store.write() as connection:
            changes.suspend(self._system, connection, infra_id)
            begun = operations.of(connection, infra_id)
        self._hurry(begun)

    def resume(self, infra_id: str) -> None:
        """Go on with a suspended infrastructure. Raises InfrastructureSuspendedError when it is not."""
        with self._system.store.write() as connection:
            claim = changes.resume(self._system, connection, infra_id)
        self._publish(claim)

    def retry(self, infra_id: str, node: str | None = None) -> int:
        """Try now what failed and waits, for its time or (after a permanent error) for a change; returns how many.

        node: only of this node, or of this node_id. Raises NodeNotFoundException, InfrastructureIDNotFoundException.
        """
        with self._system.store.write() as connection:
            waiting_now = changes.retry(self._system, connection, infra_id, node)
        self._hurry(waiting_now)
        return len(waiting_now)

    def replace(self, node_id: str) -> None:
        """Ask for another instance in the place of this one, which is dropped when that is ready.

        Raises NodeNotFoundException when there is no such instance, or it is on its way out.
        """
        with self._system.store.write() as connection:
            claim = changes.replace(self._system, connection, node_id)
        self._publish(claim)

    # --- the end ----------------------------------------------------------------------------------------------

    def tear_down(self, infra_id: str) -> TearDown:
        """Tear down an infrastructure that is not managed: its instances, dependents first, and all that is left.

        Returns a handle to follow it by; one that is under way already is followed. Raises ValueError when it is
        managed (stop_provisioning first), InfrastructureIDNotFoundException, BrokerUnavailable.
        """
        self._system.send.check()
        with self._system.store.write() as connection:
            infra = infrastructures.lock(connection, infra_id)
            if schedule.get(connection, infra_id) is not None:
                raise errors.InfrastructureManagedError(
                    f"infrastructure {infra_id} is being provisioned; detach it before tearing it down"
                )
            if infra.phase is instance.Phase.TORN_DOWN:
                raise errors.InfrastructureIDNotFoundException(f"infrastructure {infra_id} is torn down already")
            desired = self._system.descriptions.one(connection, infra)
            chain = teardown.begin(
                connection,
                infra_id,
                desired,
                now=self._system.now(),
                token=self._system.new_id(),
                resend=self._system.settings.instructions.resend,
            )
        if chain is not None:
            try:
                self._system.send.teardown(chain)
            except errors.BrokerUnavailable as problem:
                log.warning("%s; beat will begin the teardown", problem)
        return TearDown(infra_id, self._system)

    # --- looking ----------------------------------------------------------------------------------------------

    def list(self) -> Sequence[reports.Summary]:
        """All infrastructures that are not torn down, oldest first."""
        with self._system.store.read() as connection:
            return reports.summaries(connection)

    def report(self, infra_id: str) -> dict[str, Any]:
        """What there is of each node, as Occopus shows it: ``{node: {instances: {id: {resource_address, state,
        reason, since}}, scaling: {actual, target, min, max}}}``."""
        with self._system.store.read() as connection:
            infra = infrastructures.get(connection, infra_id)
            desired = self._system.descriptions.one(connection, infra)
            return reports.report(infra, desired, nodes.of(connection, infra_id))

    def events(self, infra_id: str, *, after: int = 0) -> Sequence[events.Event]:
        """What happened to an infrastructure, oldest first, beginning after the event of that id."""
        with self._system.store.read() as connection:
            infrastructures.get(connection, infra_id)
            return events.of(connection, infra_id, after=after)

    def logs(self, node_id: str, *, lines: int = 100) -> str:
        """The last lines that an instance has put out, where its cloud keeps them. Raises OccoError."""
        with self._system.store.read() as connection:
            node = nodes.get(connection, node_id)
        if node is None or node.instance_id is None or node.implementation is None or node.account is None:
            raise errors.NodeNotFoundException(
                f"there is no instance {node_id!r}; `occo report INFRA_ID` shows those that there are"
            )
        handler = self._system.clouds.handler(node.account, node.implementation["resource"])
        return handler.logs(node.instance_id, lines, self._system.settings.instructions.call_timeout)


def _check_update(update: str) -> None:
    if update not in changes.UPDATES:
        raise ValueError(f"update is {update!r}, it can be: {', '.join(changes.UPDATES)}")


def _instruction(operation: instance.Operation) -> str:
    return f"{operation.kind}-node {operation.node_name} ({operation.target})"
