"""The simulated cloud outside any one process: shared, durable, private, quick; and its operator's side."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import simulated, simulated_database

#: Reads lines of Python expressions and answers each with its value or the name of the error.
WORKER = """
import sys
from occo_celery import errors
from occo_celery.plugins.resourcehandler import base, simulated
options, section = {"database": sys.argv[1]}, {"type": "simulated"}
handler = simulated.SimulatedHandler("a", section, {}, options)
def create(node_id):
    return handler.create(base.Creation(node_id=node_id, infra_id="i", node_name="web", section=section)).instance_id
def seen(node_id):
    return [str(each.state) for each in handler.observe([node_id], 5.0)[node_id]]
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except errors.OccoError as problem:
        print(type(problem).__name__, flush=True)
"""


class Worker:
    """Another process with the same cloud."""

    def __init__(self, path: pathlib.Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, expression: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, expression: str) -> str:
        self.send(expression)
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def workers(path: pathlib.Path) -> Any:
    made = [Worker(path) for _ in range(4)]
    yield made
    for worker in made:
        worker.end()


def test_processes_see_the_same_cloud(workers: list[Worker], path: pathlib.Path) -> None:
    cloud = simulated.SimulatedCloud(path)
    instance_id = workers[0].ask("create('n1')").strip("'")
    assert [each.instance_id for each in cloud.instances()] == [instance_id]
    workers[0].end()  # SIGKILL: the cloud is not in its memory
    assert workers[1].ask("seen('n1')") == "['ready']"
    assert workers[1].ask("create('n1')").strip("'") == instance_id
    cloud.set(silent=True)  # while the workers run
    assert workers[1].ask("seen('n1')") == workers[2].ask("create('n2')") == "CloudSilent"
    cloud.set(silent=False)
    assert workers[2].ask(f"handler.drop({instance_id!r}, 5.0)") == "None"
    assert workers[1].ask("seen('n1')") == "[]"
    assert cloud.calls() == {"create": 3, "observe": 3, "drop": 1}


def test_processes_that_race_make_one_instance_a_token(workers: list[Worker], path: pathlib.Path) -> None:
    for worker in workers:  # all first open the file that is not there yet
        worker.send("[create(f'n{number}') for number in range(50)]")
    answers = {worker.answer() for worker in workers}
    assert len(answers) == 1
    cloud = simulated.SimulatedCloud(path)
    assert len(cloud.instances()) == 50
    assert cloud.calls() == {"create": 200}


def test_opening_waits_for_others_that_open(path: pathlib.Path, cloud: Any) -> None:
    """SQLite itself does not wait before it switches to WAL: 22 of 320 that opened a new file at once failed."""
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, other.close)
    timer.start()
    assert cloud.calls() == {}
    timer.join()


def test_a_handler_that_was_forked_opens_the_file_anew(cloud: Any, handler: Any, creation: Any) -> None:
    handler.create(creation("n1"))
    child = os.fork()
    if child == 0:
        try:
            handler.create(creation("n2"))
            os._exit(0 if opened_anew(handler._cloud._database._connection()) else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {each.node_id for each in cloud.instances()} == {"n1", "n2"}


def opened_anew(connection: Any) -> bool:
    """The parent's was put aside (beside those of other tests that the collector came upon), and is not used."""
    inherited = simulated_database._inherited
    return bool(inherited) and all(connection is not one for one in inherited)


def test_connections_end_with_their_threads(handler: Any, path: pathlib.Path) -> None:
    handler.observe([], 5.0)

    def opened() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{fd}") == str(path) for fd in os.listdir("/proc/self/fd"))

    before = opened()
    for _ in range(5):
        thread = threading.Thread(target=handler.observe, args=([], 5.0))
        thread.start()
        thread.join()
    assert 0 < opened() <= before + 1  # SQLite itself keeps one for the next


def test_the_file_is_for_its_owner_only(cloud: Any, path: pathlib.Path) -> None:
    cloud.calls()
    for each in (path.parent, *path.parent.iterdir()):
        assert not stat.S_IMODE(each.stat().st_mode) & 0o077, each


def test_a_file_that_cannot_be_used_is_silence(path: pathlib.Path, make_handler: Any, creation: Any) -> None:
    path.parent.mkdir()
    path.write_text("this is no database" * 100)
    handler = make_handler()
    with pytest.raises(errors.CloudSilent, match="does not answer: file is not a database"):
        handler.observe(["n1"], 5.0)
    with pytest.raises(errors.CloudSilent):
        handler.create(creation())
    with pytest.raises(errors.CloudSilent):
        simulated.SimulatedCloud(path).calls()


def test_a_failure_half_way_changes_nothing(cloud: Any, handler: Any, creation: Any) -> None:
    made = handler.create(creation())

    def fail() -> None:
        with cloud.transaction():
            cloud.end(made.instance_id, dropped_at=0.0, gone_at=0.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(cloud.instances()) == 1
    handler.drop(made.instance_id, 5.0)  # the lock is free
    assert cloud.instances() == []


def test_account_names_file_and_endpoint(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = simulated.SimulatedHandler.account
    monkeypatch.setenv("HOME", str(tmp_path))
    assert account({}, {}) == f"simulated:{tmp_path}/.occopus/simulated.sqlite:default"
    monkeypatch.chdir(tmp_path)
    assert account({"endpoint": "b"}, {"database": "x"}) == account({"endpoint": "b"}, {"database": tmp_path / "x"})
    assert account({"endpoint": "b"}, {"database": "x"}) == f"simulated:{tmp_path}/x:b"
    assert simulated.SimulatedWithoutTokens.account({}, {"database": "/x"}) == "simulated_no_tokens:/x:default"


def test_making_a_handler_touches_nothing(make_handler: Any, path: pathlib.Path) -> None:
    make_handler()
    assert not path.parent.exists()


# --- the operator's side ----------------------------------------------------------------------------


def test_instances_are_told_by_node_infrastructure_and_life(cloud: Any, handler: Any, creation: Any) -> None:
    for node_id, infra_id in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        handler.create(creation(node_id, infra_id, image="linux", user_data="hello"))
    handler.drop(cloud.instances("n2")[0].instance_id, 5.0)

    def names(**chosen: Any) -> list[str]:
        return [each.node_id for each in cloud.instances(**chosen)]

    assert names() == ["n1", "n3"]
    assert names(alive=False) == ["n1", "n2", "n3"]
    assert names(infra_id="a") == ["n1"]
    assert names(node_id="n3", infra_id="a") == []
    (instance,) = cloud.instances("n1")
    assert (instance.image, instance.user_data, instance.address) == ("linux", "hello", "10.0.0.1")


@pytest.mark.parametrize("listed", [False, True])
def test_kill(cloud: Any, handler: Any, creation: Any, listed: bool) -> None:
    handler.create(creation())
    cloud.kill("n1", listed=listed)
    seen = handler.observe(["n1"], 5.0)["n1"]
    assert [each.state for each in seen] == ([status.NodeStatus.FAILED] if listed else [])
    assert cloud.instances() == []
    for each in cloud.instances(alive=False):
        handler.drop(each.instance_id, 5.0)
    assert handler.observe(["n1"], 5.0)["n1"] == ()
    with pytest.raises(LookupError, match="n1"):
        cloud.kill("n1")


def test_what_is_being_dropped_cannot_be_killed(cloud: Any, handler: Any, creation: Any) -> None:
    cloud.set(shutdown_time=60)
    handler.drop(handler.create(creation()).instance_id, 5.0)
    with pytest.raises(LookupError):
        cloud.kill("n1")


def test_what_was_killed_and_is_gone_does_not_come_back_by_a_drop(cloud: Any, handler: Any, creation: Any) -> None:
    made = handler.create(creation())
    cloud.kill("n1")
    cloud.set(shutdown_time=60)
    handler.drop(made.instance_id, 5.0)
    assert handler.observe(["n1"], 5.0)["n1"] == ()


def test_ids_are_not_used_again_when_the_file_is_removed(
    path: pathlib.Path, make_handler: Any, creation: Any
) -> None:
    first = make_handler().create(creation("n1"))
    for each in path.parent.iterdir():
        each.unlink()
    assert make_handler().create(creation("n2")).instance_id != first.instance_id


def test_logs_tell_the_life_of_an_instance(cloud: Any, handler: Any, creation: Any, clock: Any) -> None:
    cloud.set(boot_time=2)
    made = handler.create(creation(user_data="hunter2"))
    console = handler.logs(made.instance_id, 100, 5.0)
    assert "booting image on small" in console
    assert "7 characters of user data" in console
    assert "hunter2" not in console
    assert "login" not in console
    clock.sleep(2)
    assert handler.logs(made.instance_id, 2, 5.0) == "[    2.000] running\nweb login:"
    assert handler.logs(made.instance_id, 0, 5.0) == ""
    with pytest.raises(errors.PermanentError, match="i-none"):
        handler.logs("i-none", 2, 5.0)


def test_observe_is_quick_and_one_call(cloud: Any, handler: Any, creation: Any) -> None:
    with cloud.transaction():
        for number in range(3000):
            cloud.insert(creation(f"n{number}"), image="i", instance_type="s", created=0.0, boots=0.0, broken=False)
    asked = [f"n{number}" for number in range(1000)]
    took = []
    for _ in range(10):
        begun = time.perf_counter()
        seen = handler.observe(asked, 5.0)
        took.append(time.perf_counter() - begun)
    assert sum(map(len, seen.values())) == 1000
    assert cloud.calls() == {"observe": 10}
    assert min(took) < 0.1, "a few ms; the bound only tells linear from quadratic"
    assert len(handler.observe([f"n{number}" for number in range(100_000)], 5.0)) == 100_000, "no limit of parameters"
    print(f"observe of 1,000: {min(took) * 1000:.1f} ms")
