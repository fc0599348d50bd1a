"""Budgets of cloud accounts through the real core: shared by workers, urgent work first, nothing lost."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery import errors, settings
from occo_celery.api import accounts
from occo_celery.enactor import observe, passes
from occo_celery.infraprocessor import budgets, strays
from occo_celery.model import budget, instance
from occo_celery.plugins.resourcehandler import base, simulated
from occo_celery.uds import accounts as rows
from occo_celery.uds import definitions, infrastructures, nodes, operations, tables
from occo_celery.uds.store import Store
from tests.world import World

MakeWorld = Callable[..., World]
ACCOUNT = "simulated:*"


def with_budget(world: World, **limits: Any) -> World:
    """Both kinds of `t` are on one account."""
    system = world.system
    budgets = (budget.Budget(accounts=ACCOUNT, **limits),)
    system.settings = dataclasses.replace(system.settings, budgets=budgets)
    assert "infraprocessor" not in vars(system), "made already, with other budgets"
    return world


def flat(count: int) -> dict[str, Any]:
    return {"infra_name": "flat", "nodes": [{"name": "a", "type": "t", "scaling": {"min": count, "max": count + 5}}]}


def made_at(world: World) -> list[float]:
    return sorted(one.created for one in world.cloud.instances())


def test_creations_come_at_the_rate(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=2.0, burst=5)
    infra_id = world.manager.add(flat(20))
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 20, 120.0)
    times = made_at(world)
    for start in range(20):
        for end in range(start, 20):
            assert end - start + 1 <= 5 + 2.0 * (times[end] - times[start]) + 1e-6
    assert times[-1] - times[0] < 15.0, "and not much slower"


def test_what_waits_says_so_and_does_not_count_as_tried(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=0.1)
    infra_id = world.manager.add(flat(3))
    world.run(3.0)
    report = world.manager.report(infra_id)["a"]["instances"].values()
    waiting = [one for one in report if "waiting_for_budget" in one["reason"]]
    assert len(waiting) == 2
    (one,) = accounts.overview(world.system)
    assert (one.instances, one.budget) == (1, budget.Budget(accounts=ACCOUNT, rate=0.1))
    assert one.spent > 0
    world.run_until(lambda: world.states(infra_id) == ["ready"] * 3, 60.0)


def test_drops_go_before_creations(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=1.0, burst=5)
    first = world.manager.add(flat(4))
    world.run_until(lambda: world.states(first) == ["ready"] * 4, 60.0)
    world.run(10.0)
    world.manager.add(flat(40))
    world.run(2.0)
    world.manager.detach(first)
    world.manager.tear_down(first)
    began = world.time
    world.run_until(lambda: world.living(first) == [], 60.0)
    assert world.time - began < 15.0
    assert len(world.living()) < 40, "creations still wait"


def test_a_lost_instance_is_replaced_before_new_ones_are_made(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=1.0, burst=5)
    first = world.manager.add(flat(2))
    world.run_until(lambda: world.states(first) == ["ready"] * 2, 60.0)
    world.run(10.0)
    world.manager.add(flat(40))
    world.run(3.0)
    victim = world.living(first)[0]
    world.cloud.kill(victim.node_id)
    began = world.time
    world.run_until(lambda: world.states(first) == ["ready"] * 2 and len(world.living(first)) == 2, 60.0)
    assert world.time - began < 20.0
    assert len(world.living()) < 42, "new ones still wait"


def test_what_is_urgent_is_asked_first_of_all_infrastructures_of_a_set(make_world: MakeWorld) -> None:
    """Creations of the first infrastructure, then those that replace what the second has lost, drops and a stray of
    the third: one of these may begin, whatever the order of names."""
    world = with_budget(make_world(), concurrency=4)
    new = world.manager.submit_infrastructure(flat(1))
    healed, dropped = (built(world, 2) for _ in range(2))
    assert new < healed < dropped
    world.manager.attach(new)
    world.messages.clear()
    with world.system.store.write() as connection:
        (gone, _) = nodes.of(connection, healed)
        connection.execute(sa.update(tables.nodes).values(lost_at=world.now()).where(of_node(gone)))
        for infra_id in (healed, new):
            intend_creation(world, connection, infra_id)
        for node in nodes.of(connection, dropped):
            nodes.move(connection, node.node_id, node.lifecycle, instance.Lifecycle.DROPPING)
            epoch = infrastructures.get(connection, dropped).attach_epoch
            operations.turn_into_drop(connection, node, epoch=epoch, now=world.now(), resend=10.0)
        intend_stray(world, connection, dropped)
        targets = [one.target for infra_id in (healed, dropped, new) for one in operations.of(connection, infra_id)]
    assert len(targets) == 5
    with world.system.store.write() as connection:
        jobs = world.system.infraprocessor._taker.take(connection, targets, world.now()).jobs
        left = operations.of(connection, new)
    assert len(jobs) == 4
    assert {one.operation.infra_id for one in jobs} == {healed, dropped}
    assert [one.reason.code for one in left if one.reason is not None] == ["waiting_for_budget"]
    (row,) = accounts.overview(world.system)
    assert row.at_work == 4, "a stray is counted, too"


def built(world: World, count: int) -> str:
    infra_id = world.manager.add(flat(count))
    world.run_until(lambda: world.states(infra_id) == ["ready"] * count, 60.0)
    return infra_id


def of_node(node: instance.Instance) -> sa.ColumnElement[bool]:
    return tables.nodes.c.node_id == node.node_id


def intend_creation(world: World, connection: sa.Connection, infra_id: str) -> None:
    """One more instance, as a pass records it."""
    node_id, infra = world.new_id(), infrastructures.get(connection, infra_id)
    nodes.insert(connection, infra_id, {node_id: "a"}, now=world.now())
    row = operations.intent(
        target=node_id,
        infra_id=infra_id,
        kind=instance.OperationKind.CREATE,
        node_name="a",
        epoch=infra.attach_epoch,
        now=world.now(),
        resend=10.0,
    )
    operations.insert(connection, [row])


def intend_stray(world: World, connection: sa.Connection, infra_id: str) -> None:
    section = {"type": "simulated"}
    strays.intend(
        connection,
        infrastructures.get(connection, infra_id),
        account=world.system.clouds.account(section),
        implementation={"resource": section},
        instance_id="i-1",
        node_id="lost",
        node_name="",
        now=world.now(),
        resend=10.0,
    )


def test_the_sweep_of_a_teardown_drops_within_the_budget(make_world: MakeWorld) -> None:
    world = with_budget(make_world(), rate=0.1)
    infra_id = built(world, 1)
    section = {"type": "simulated"}
    handler = world.system.clouds.handler(world.system.clouds.account(section), section)
    for name in ("x", "y", "z"):
        handler.create(base.Creation(node_id=name, infra_id=infra_id, node_name="a", section=section))
    world.manager.detach(infra_id)
    handle = world.manager.tear_down(infra_id)
    ends: list[float] = []
    while handle.state != "torn_down":
        before = len(world.living())
        world.run(0.25)
        ends += [world.time] * (before - len(world.living()))
    assert len(ends) == 4
    assert all(after - earlier >= 9.5 for earlier, after in itertools.pairwise(ends))


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_claims_on_different_accounts_do_not_wait_for_each_other(make_world: MakeWorld, other: Store) -> None:
    world = with_budget(make_world(), concurrency=4)
    places = {
        name: [{"resource": {"type": world.kind, "endpoint": name}, "health_check": {"ping": False}}]
        for name in ("one", "two")
    }
    with world.system.store.write() as connection:
        definitions.replace(connection, places, now=world.now())
    targets: list[str] = []
    for name in places:
        infra_id = world.manager.add({"infra_name": name, "nodes": [{"name": "a", "type": name}]})
        world.run_until(lambda infra_id=infra_id: world.states(infra_id) == ["ready"], 60.0)  # type: ignore[misc]
        with world.system.store.write() as connection:
            intend_creation(world, connection, infra_id)
            targets += [one.target for one in operations.of(connection, infra_id)]
    taker = world.system.infraprocessor._taker
    with world.system.store.write() as first, other.write() as second:
        second.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        assert len(taker.take(first, targets[:1], world.now()).jobs) == 1
        assert len(taker.take(second, targets[1:], world.now()).jobs) == 1


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("who", ["a pass that records", "a claim"])
def test_accounts_are_locked_in_the_order_of_their_names(make_world: MakeWorld, other: Store, who: str) -> None:
    """Whoever waits for the first holds none of the later ones."""
    world = with_budget(make_world(), concurrency=4)
    names = [f"simulated:{name}" for name in "cab"]
    with world.system.store.write() as connection:
        for name in names:  # where they lie in the table is not their order
            rows.missed(connection, name, reason="no answer", now=world.now())

    def record(connection: sa.Connection) -> None:
        work = passes.Work(leased=(), descriptions={}, requests={}, silent={}, shaky=names)
        answers = observe.Answers(answered=set(names[:1]), missed={names[2]: "no answer"})
        opened = [names[1]]
        found = passes.Findings(steady=(), drafts=(), answers=answers, opened=opened, now=world.now())
        world.system.enactor._record_accounts(connection, work, found, names)

    def claim(connection: sa.Connection) -> None:
        gate = budgets.Gate(world.system.settings.budgets, connection, world.now())
        stray = instance.Operation(target="x", infra_id="x", kind=instance.OperationKind.STRAY, attach_epoch=0)
        gate.admit([budgets.Wish(operation=stray, account=name) for name in names], ())

    act = record if who == "a pass that records" else claim

    def run() -> None:
        with world.system.store.write() as connection:
            act(connection)

    thread = threading.Thread(target=run)
    with other.write() as connection:
        rows.lock(connection, ["simulated:a"])
        thread.start()
        while not world.waits_for_a_lock():
            assert thread.is_alive()
        later = sa.select(tables.accounts).where(tables.accounts.c.account.in_(["simulated:b", "simulated:c"]))
        assert len(connection.execute(later.with_for_update(nowait=True)).all()) == 2
    thread.join()


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_at_work_than_allowed_however_many_workers(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    world = with_budget(make_world(), concurrency=limit)
    world.manager.add(flat(12))
    world.time += 1.0
    lock, inside, most = threading.Lock(), 0, 0
    create = simulated.SimulatedHandler.create

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return create(*arguments, **named)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(simulated.SimulatedHandler, "create", counted)
    world.deliver()  # the first pass
    processor = world.system.infraprocessor
    for _ in range(60):
        with world.system.store.read() as connection:
            (infra,) = world.manager.list()
            targets = [one.target for one in operations.of(connection, infra.infra_id)]
        if not targets:
            break
        threads = [threading.Thread(target=processor.perform, args=([one],)) for one in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.time += 2.0
    assert len(world.living()) == 12
    assert 1 <= most <= limit


class RealTime(World):
    """Several processes have no virtual clock in common."""

    def now(self) -> float:
        return time.time()


def work(url: str, folder: str, targets: Sequence[str], diary: str) -> None:
    """A worker process that performs these one after the other until nothing is left of them, and writes down when it
    begins and ends to make an instance."""

    def written(*arguments: Any, **named: Any) -> Any:
        with open(diary, "a") as file:
            file.write("+\n")
        time.sleep(0.05)  # others come in between
        try:
            return create(*arguments, **named)
        finally:
            with open(diary, "a") as file:
                file.write("-\n")

    create = simulated.SimulatedHandler.create
    simulated.SimulatedHandler.create = written  # type: ignore[method-assign]
    world = with_budget(RealTime(url, pathlib.Path(folder)), concurrency=3)
    try:
        while True:
            with world.system.store.read() as connection:
                left = [one for one in targets if operations.get(connection, one) is not None]
            if not left:
                return
            for target in left:
                world.system.infraprocessor.perform([target])
            time.sleep(0.05)  # what is held back waits for its time
    finally:
        world.close()


def test_worker_processes_share_one_budget(store: Store, database_url: str, tmp_path: pathlib.Path) -> None:
    world = RealTime(database_url, tmp_path)
    world.define()
    world.manager.add(flat(6))
    world.deliver()  # the first pass
    (infra,) = world.manager.list()
    with world.system.store.read() as connection:
        targets = [one.target for one in operations.of(connection, infra.infra_id)]
    diary = world.folder / "diary"
    processes = multiprocessing.get_context("spawn")
    shares = [targets[number::3] for number in range(3)]
    workers = [
        processes.Process(target=work, args=(world.url, str(world.folder), share, str(diary))) for share in shares
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3
    inside = list(itertools.accumulate(1 if line == "+" else -1 for line in diary.read_text().split()))
    assert len(inside) == 12
    assert 1 <= max(inside) <= 2, "the third is kept for what is urgent"
    assert len(world.living()) == 6
    world.close()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{accounts: 'ec2:*', rate: 5}", "budgets is a list"),
        ("[5]", r"budgets\[0\] is a mapping with `accounts`"),
        ("[{rate: 5}]", r"budgets\[0\] is a mapping with `accounts`"),
        ("[{accounts: 'ec2:*'}]", "neither concurrency nor rate"),
        ("[{accounts: 'ec2:*', rate: 0}]", r"budgets\[0\].rate is 0; a number above 0"),
        ("[{accounts: 'ec2:*', concurrency: 1.5}]", r"budgets\[0\].concurrency is 1.5; a whole number"),
        ("[{accounts: 'ec2:*', rate: true}]", r"budgets\[0\].rate is True"),
        ("[{accounts: 'ec2:*', rat: 5}]", r"unknown key budgets\[0\].rat; did you mean rate\?"),
    ],
)
def test_budgets_that_are_none(tmp_path: Any, written: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "logging: {version: 1}\ncomponents:\n  uds: !UDS {}\n  resourcehandler: !ResourceHandler {}\n"
        f"  configmanager: !ConfigManager {{}}\nbudgets: {written}\n"
    )
    with pytest.raises(errors.ConfigurationError, match=message):
        settings.load(path, environ={})
