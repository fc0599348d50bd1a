"""A world in one process for tests: a virtual clock, messages that wait to be delivered, deaths at chosen points.

The real enactor, infraprocessor, teardown and UDS run in it, against the simulated cloud, on a real database. Ports
are what touches the outside: transactions, messages, cloud calls. Before and after each a process may die: from then
on every port of that incarnation refuses, so that its finally blocks achieve nothing, as after a kill -9.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa

from occo_celery import settings, wiring
from occo_celery.api.manager import InfrastructureManager
from occo_celery.model.instance import Operation, OperationKind
from occo_celery.model.message import Chain, Claim
from occo_celery.plugins.resourcehandler import base, clouds, simulated
from occo_celery.plugins.resourcehandler.simulated_cloud import SimulatedCloud
from occo_celery.tasks import scheduler
from occo_celery.uds import definitions
from occo_celery.uds.store import Store


class Death(BaseException):
    """The process is gone; not an Exception, so that nobody's handler mistakes it for trouble."""


class Life:
    """Counts the points where a process could die; dies at the one that was chosen, and stays dead."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at, self.points, self.dead = dies_at, [], False  # type: ignore[var-annotated]

    def point(self, what: str) -> None:
        if self.dead or len(self.points) == self.dies_at:
            self.dead = True
            self.points.append(what)
            raise Death(what)
        self.points.append(what)


class MortalStore(Store):
    """A store whose transactions are ports."""

    life: Life
    #: One database has one engine.
    _engines: ClassVar[dict[str, sa.Engine]] = {}
    #: Statements are compiled once for all databases of a kind: (dialect, compiled statements). SQLAlchemy keeps what
    #: it has compiled by the dialect object.
    _compiled: ClassVar[dict[str, tuple[sa.Dialect, dict[Any, Any]]]] = {}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        engine = self._engines.setdefault(url, self.engine)
        engine.dialect, compiled = self._compiled.setdefault(engine.name, (engine.dialect, {}))
        engine.update_execution_options(compiled_cache=compiled)
        self.engine = engine

    @contextlib.contextmanager
    def write(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        self.life.point("before a transaction")
        with super().write(alone=alone) as connection:
            if alone:  # on PostgreSQL two would be two transactions
                told: list[str] = []
                sa.event.listen(connection, "before_cursor_execute", lambda *what: told.append(what[2]))
                yield connection
                assert len(told) <= 1, f"not alone: {told}"
            else:
                yield connection
        self.life.point("after a transaction")


class MortalCloud:
    """A resource handler whose calls are ports."""

    def __init__(self, handler: base.ResourceHandler, life: Life) -> None:
        self._handler, self._life = handler, life

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._handler, name)
        if name not in ("create", "observe", "drop", "sweep"):
            return call

        def port(*args: Any, **kwargs: Any) -> Any:
            self._life.point(f"before {name}")
            result = call(*args, **kwargs)
            self._life.point(f"after {name}")
            return result

        return port


class MortalClouds(clouds.Clouds):
    life: Life

    def handler(self, account: str, section: Mapping[str, Any]) -> Any:
        return MortalCloud(super().handler(account, section), self.life)


class World:
    """The whole system but for broker and processes. Times are virtual; time passes in pass_time and run only."""

    def __init__(
        self, url: str, folder: pathlib.Path, *, seed: int = 0, kind: str = "simulated", **behaviour: Any
    ) -> None:
        self.url, self.folder, self.kind = url, folder, kind
        self.time = 1_800_000_000.0
        self.rng = random.Random(seed)
        self.messages: list[Callable[[wiring.System], None]] = []
        self._numbers = itertools.count(1)
        self.life = Life()
        self._stores: list[Store] = []
        self.cloud = SimulatedCloud(folder / "cloud.sqlite", clock=self.now)
        if behaviour:
            self.cloud.set(**behaviour)
        self.system = self.reborn()
        self.manager = InfrastructureManager("parallel", system=self.system)

    def now(self) -> float:
        return self.time

    def new_id(self) -> str:
        return f"id-{next(self._numbers):05d}"

    # --- processes -----------------------------------------------------------------------------------------------

    def reborn(self, dies_at: int | None = None) -> wiring.System:
        """New processes in place of the old ones; they die at the given point, if one is given."""
        self.life = Life(dies_at)
        store = MortalStore(self.url)
        store.life = self.life
        self._stores.append(store)
        options: dict[str, Mapping[str, Any]] = {
            name: {
                "database": str(self.folder / "cloud.sqlite"),
                "clock": self.now,
                "sleep": lambda _: None,
                "random": self.rng,
            }
            for name in ("simulated", "simulated_no_tokens")
        }
        known = {"simulated": simulated.SimulatedHandler, "simulated_no_tokens": simulated.SimulatedWithoutTokens}
        accounts = MortalClouds(options, lambda _: {}, known.__getitem__)
        accounts.life = self.life
        config = settings.Settings(
            source="test",
            home=self.folder,
            uds_url=self.url,
            broker_url="redis://",
            instructions=settings.Instructions(batch=1),
        )
        self.system = wiring.System(
            config, send=self, store=store, clouds=accounts, now=self.now, new_id=self.new_id, rng=self.rng
        )
        self.manager = InfrastructureManager("parallel", system=self.system)
        return self.system

    def close(self) -> None:
        for store in self._stores:
            store.close()

    # --- messages: this object is the system's Send -------------------------------------------------------------

    def check(self) -> None:
        pass

    def passes(self, claim: Claim) -> None:
        self.life.point("before a message")
        self.messages.append(lambda system: system.enactor.run(claim) and None)
        self.life.point("after a message")

    def operations(self, operations: Sequence[Operation]) -> None:
        for one in operations:
            assert one.kind is not OperationKind.TEARDOWN
            self.life.point("before a message")
            self.messages.append(lambda system, target=one.target: system.infraprocessor.perform([target]))
            self.life.point("after a message")

    def teardown(self, chain: Chain) -> None:
        self.life.point("before a message")
        self.messages.append(lambda system: self._link(system, chain, chain.stage))
        self.life.point("after a message")

    def sweep(self, account: str) -> None:
        self.life.point("before a message")
        self.messages.append(lambda system: system.sweeper.sweep(account))
        self.life.point("after a message")

    def _link(self, system: wiring.System, chain: Chain, stage: int) -> None:
        links = system.teardown
        act = links.drop_level if stage < chain.levels else links.sweep if stage == chain.levels else links.finish
        done = act(chain.infra_id, chain.token, stage)
        following = stage + 1 if done else stage
        if following < chain.levels + 2:
            self.messages.append(lambda system: self._link(system, chain, following))

    # --- running -------------------------------------------------------------------------------------------------

    def define(self, **implementation: Any) -> None:
        """One node type ``t`` with one implementation on the simulated cloud."""
        whole = {
            "resource": {"type": self.kind},
            "health_check": {"ping": False},
            **implementation,
        }
        with self.system.store.write() as connection:
            definitions.replace(connection, {"t": [whole]}, now=self.now())

    def deliver(self, limit: int = 500) -> None:
        """Deliver every message that there is now, oldest first; those that they lead to wait for the next time."""
        for _ in range(min(limit, len(self.messages))):
            self.messages.pop(0)(self.system)

    def run(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, with beat and workers at work."""
        end = self.time + seconds
        due = scheduler.Due(self.system)
        following = due.next()
        while self.time < end:
            self.time += step
            following = self._tick(due, following)

    def run_until(self, done: Callable[[], bool], seconds: float = 600.0, step: float = 0.25) -> None:
        """Let time pass until something is so. done: looks, and changes nothing."""
        end = self.time + seconds
        due = scheduler.Due(self.system)
        following = due.next()
        while not done():
            assert self.time < end, f"not within {seconds:g} virtual seconds"
            self.time += step
            following = self._tick(due, following)

    def _tick(self, due: scheduler.Due, following: float) -> float:
        """Beat and workers do what there is to do now. following: when something falls due; returns the next such
        time. Most ticks have nothing to do: only what is done here changes when the next one will."""
        if not self.messages and self.time < following:
            return following
        due.publish()
        self.deliver()
        return due.next()

    # --- looking -------------------------------------------------------------------------------------------------

    def waits_for_a_lock(self) -> bool:
        """Somebody does, on PostgreSQL."""
        with self.system.store.read() as connection:
            return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar())

    def living(self, infra_id: str | None = None) -> list[Any]:
        return list(self.cloud.instances(infra_id=infra_id, alive=True))

    def states(self, infra_id: str) -> list[str]:
        report = self.manager.report(infra_id)
        return sorted(one["state"] for node in report.values() for one in node["instances"].values())
