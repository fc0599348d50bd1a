"""Drop: asked for at first, forced after the grace; nothing of the node survives it, and nothing else is touched."""

from __future__ import annotations

import os
import pathlib
import signal
import time

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import machine, process, process_end, process_start, process_table
from tests.unit.process import world as worlds

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
SAY_UP = "print('up', flush=True); "


def wait_up(world: worlds.World, times: int = 1) -> None:
    output = world.root / "n1" / "output"
    worlds.wait_until(lambda: output.exists() and output.read_text().count("up") == times, what="the process up")


def test_what_ends_when_asked_is_archived_by_the_first_drop(world: worlds.World) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    handler.drop(made.instance_id, 5.0)
    assert handler.observe(["n1"], 5.0) == {"n1": ()}
    assert not world.running()
    assert (world.root / "archive" / "n1" / "record.json").exists()
    assert not (world.root / "n1").exists()
    handler.drop(made.instance_id, 5.0)
    world.handler().drop(made.instance_id, 5.0)


def test_what_is_stubborn_is_forced_after_the_grace_and_not_before(world: worlds.World) -> None:
    command = worlds.python(STUBBORN + SAY_UP + worlds.SLEEP)
    patient, made = world.handler(stop_grace=300.0), world.handler().create(world.creation(command=command))
    wait_up(world)
    for _ in range(3):
        patient.drop(made.instance_id, 5.0)
        (seen,) = patient.observe(["n1"], 5.0)["n1"]
        assert (seen.state, seen.reason.code) == (status.NodeStatus.SHUTDOWN, "stopping")
    assert len(world.running()) == 1
    assert patient.create(world.creation()).state is status.NodeStatus.SHUTDOWN
    with pytest.raises(errors.TransientError, match="still runs"):
        patient.forget("n1")
    world.handler(stop_grace=0.0).drop(made.instance_id, 5.0)  # another worker, so the time is on disk
    assert not world.running()
    assert patient.observe(["n1"], 5.0) == {"n1": ()}


def test_the_grace_is_counted_from_the_first_drop(world: worlds.World) -> None:
    command = worlds.python(STUBBORN + SAY_UP + worlds.SLEEP)
    made = world.handler().create(world.creation(command=command))
    wait_up(world)
    before = time.monotonic()

    def gone() -> bool:
        world.handler(stop_grace=0.6).drop(made.instance_id, 5.0)
        return not world.running()

    worlds.wait_until(gone, what="its end")
    assert time.monotonic() - before >= 0.6


def test_a_grace_that_began_in_another_boot_is_over(world: worlds.World) -> None:
    handler = world.handler(stop_grace=300.0)
    made = handler.create(world.creation(command=worlds.python(STUBBORN + SAY_UP + worlds.SLEEP)))
    wait_up(world)
    (world.root / "n1" / "dropping").write_text(repr(time.monotonic() + 1e6))
    handler.drop(made.instance_id, 5.0)
    assert not world.running()


def test_one_sigterm_is_sent(world: worlds.World) -> None:
    """A second one makes many programs give up what the first had them finish."""
    counting = f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('term', flush=True)); {SAY_UP}"
    waiting = "import time\nwhile True: time.sleep(0.01)"
    handler = world.handler(stop_grace=300.0)
    made = handler.create(world.creation(command=worlds.python(counting + "\n" + waiting)))
    wait_up(world)
    for _ in range(3):
        handler.drop(made.instance_id, 5.0)
    assert (world.root / "n1" / "output").read_text().split() == ["up", "term"]


def test_what_is_stopped_can_end(world: worlds.World) -> None:
    handler = world.handler(stop_grace=300.0)
    made = handler.create(world.creation())
    os.kill(world.record()["pid"], signal.SIGSTOP)
    handler.drop(made.instance_id, 5.0)
    worlds.wait_until(lambda: not world.running(), what="its end")


ESCAPES = {
    "a child": "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', CHILD]); ",
    "a session of its own": (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', CHILD], start_new_session=True); "
    ),
    "a grandchild": (
        "import os, subprocess, sys\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: os.execv(sys.executable, [sys.executable, '-S', '-c', CHILD])\n"
        "    os._exit(0)\n"
    ),
    "a clean environment": "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', CHILD], env={}); ",
}


@pytest.mark.parametrize("leader", ["lives", "is gone"])
@pytest.mark.parametrize("how", ESCAPES)
def test_what_the_process_has_started_is_ended_with_it(
    world: worlds.World, how: str, leader: str, tmp_path: pathlib.Path
) -> None:
    pid_file = tmp_path / "child"
    child = f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid())); {STUBBORN}{SAY_UP}{worlds.SLEEP}"
    rest = worlds.SLEEP if leader == "lives" else "raise SystemExit(3)"
    code = f"CHILD = {child!r}\n{ESCAPES[how]}\n{rest}"
    handler = world.handler(stop_grace=0.1)
    made = handler.create(world.creation(command=worlds.python(code)))
    wait_up(world)
    escaped = process_table.look(int(pid_file.read_text()))
    assert escaped is not None
    if leader == "is gone":
        pid = world.record()["pid"]
        worlds.wait_until(lambda: process_table.look(pid) is None, what="the end of the leader")
        assert handler.observe(["n1"], 5.0)["n1"][0].state is status.NodeStatus.FAILED
    handler.drop(made.instance_id, 5.0)
    assert handler.observe(["n1"], 5.0)["n1"][0].state is status.NodeStatus.SHUTDOWN, "it is not gone yet"
    world.drop_all(handler)
    assert not process_table.is_running(escaped.pid, escaped.start)


def test_what_outlives_its_leader_is_forced_also_without_a_record(world: worlds.World) -> None:
    """The core drops the id on its record, of the leader that is gone, beside those that are listed."""
    child = f"{STUBBORN}{SAY_UP}{worlds.SLEEP}"
    code = f"CHILD = {child!r}\n{ESCAPES['a child']}\n{worlds.SLEEP}"
    patient = world.handler(stop_grace=300.0)
    made = patient.create(world.creation(command=worlds.python(code)))
    wait_up(world)
    world.record_path().unlink()
    patient.drop(made.instance_id, 5.0)
    worlds.wait_until(lambda: len(world.running()) == 1, what="the end of the leader")
    (left,) = patient.observe(["n1"], 5.0)["n1"]
    assert left.instance_id != made.instance_id
    for instance_id in (made.instance_id, left.instance_id, made.instance_id):
        patient.drop(instance_id, 5.0)
    (seen,) = patient.observe(["n1"], 5.0)["n1"]
    assert (seen.instance_id, seen.state) == (left.instance_id, status.NodeStatus.SHUTDOWN)
    world.handler(stop_grace=0.0).drop(left.instance_id, 5.0)
    assert not world.running()


def test_what_forks_for_ever_is_ended(world: worlds.World) -> None:
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\n"
        "while True:\n    time.sleep(0.01)\n    if os.fork(): os._exit(0)\n    os.setsid()"
    )
    handler = world.handler(stop_grace=0.0)
    made = handler.create(world.creation(command=worlds.python(code)))
    wait_up(world)
    handler.drop(made.instance_id, 5.0)
    world.drop_all(handler)
    assert not world.running()


def test_a_session_whose_number_was_used_again_is_left_alone(world: worlds.World) -> None:
    """The leader's pid names another session by now, whose own leader has gone, too."""
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {worlds.SLEEP!r}])"
    handler = world.handler()
    handler.create(world.creation())
    with worlds.subprocess.Popen(worlds.python(code), start_new_session=True, env={}) as passing:
        passing.wait()
    (left,) = [one for one in process_table.every() if one.session == passing.pid]
    try:
        world.kill()
        instance_id = world.change_record(pid=passing.pid, start=left.start)
        handler.drop(instance_id, 5.0)
        assert handler.observe(["n1"], 5.0) == {"n1": ()}
        assert process_table.is_running(left.pid, left.start)
    finally:
        process_table.send(left, signal.SIGKILL)


def test_another_node_is_left_alone(world: worlds.World) -> None:
    handler = world.handler()
    made, other = handler.create(world.creation()), handler.create(world.creation("n2"))
    handler.drop(made.instance_id, 5.0)
    assert handler.observe(["n2"], 5.0) == {"n2": (other,)}


def test_the_archive_keeps_no_secrets_and_the_latest_only(world: worlds.World) -> None:
    handler = world.handler(keep=2)
    for number in range(4):
        node_id = f"n{number}"
        made = handler.create(world.creation(node_id, user_data="hunter2", attributes={"password": "hunter2"}))
        handler.drop(made.instance_id, 5.0)
        world.drop_all(handler, node_id)
    assert sorted(path.name for path in (world.root / "archive").iterdir()) == ["n2", "n3"]
    texts = [path.read_bytes() for path in world.root.rglob("*") if path.is_file()]
    assert not any(b"hunter2" in text for text in texts)


def test_logs_are_the_last_lines_also_of_what_has_ended(world: worlds.World) -> None:
    handler = world.handler()
    code = f"for n in range(5): print('line', n, flush=True)\nimport os; os.write(2, b'\\xff end\\n'); {worlds.SLEEP}"
    made = handler.create(world.creation(command=worlds.python(code)))
    expected = "line 3\nline 4\n\N{REPLACEMENT CHARACTER} end"
    worlds.wait_until(lambda: handler.logs(made.instance_id, 3, 5.0) == expected, what="the output")
    assert handler.logs(made.instance_id, 0, 5.0) == ""
    assert len(handler.logs(made.instance_id, 100, 5.0).splitlines()) == 6
    world.drop_all(handler)
    assert handler.logs(made.instance_id, 3, 5.0) == expected
    for unknown in ("n7:1:1", "../../etc/passwd"):
        with pytest.raises(errors.PermanentError, match="no output"):
            handler.logs(unknown, 3, 5.0)


def test_logs_read_no_more_than_a_bound(world: worlds.World) -> None:
    handler = world.handler()
    code = f"import sys; sys.stdout.write('x' * 3_000_000 + '\\nup\\n'); sys.stdout.flush(); {worlds.SLEEP}"
    made = handler.create(world.creation(command=worlds.python(code)))
    wait_up(world)
    text = handler.logs(made.instance_id, 10, 5.0)
    assert len(text) <= 1 << 20
    assert text.endswith("x\nup")


def test_the_moment_that_a_drop_looks_is_short() -> None:
    assert process_end.QUICK <= 0.05


@pytest.mark.parametrize("kind", [process.ProcessHandler, machine.MachineHandler])
def test_errors_name_the_handler_that_they_are_of(world: worlds.World, kind: type[process.ProcessHandler]) -> None:
    options = {"root": str(world.root)}
    handler = kind(kind.account({}, options), {"type": kind.kind}, {}, options)
    with pytest.raises(errors.PermanentError, match=f"^{kind.kind}: there is no output of n1:1:1"):
        handler.logs("n1:1:1", 1, 5.0)
    with pytest.raises(errors.PermanentError, match=f"^{kind.kind}: 'a/b' cannot name a folder"):
        handler.create(world.creation("a/b"))
    started = handler._launcher.start(
        process_start.Launch(executable="/nobody", arguments=["x"], environment={}, directory="/nowhere"),
        str(world.scratch),
        {},
        time.monotonic() + 30.0,
    )
    assert started is not None
    assert str(started.error).startswith(f"{kind.kind}: the command cannot be started: ")
