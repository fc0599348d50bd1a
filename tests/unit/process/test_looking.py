"""What is listed, and as what: identity by pid, start and boot; zombies; lost records; other hosts and roots."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base, process, process_launcher, process_table
from tests.unit.process import world as worlds

READY, FAILED = status.NodeStatus.READY, status.NodeStatus.FAILED


def only(handler: base.ResourceHandler, node_id: str = "n1") -> base.Seen:
    (seen,) = handler.observe([node_id], 5.0)[node_id]
    return seen


def test_a_server_answers_at_its_address(world: worlds.World) -> None:
    server = [sys.executable, "-m", "http.server", "--bind", "${OCCO_ADDRESS}", "8000"]
    made = [world.handler().create(world.creation(node_id, server)) for node_id in ("n1", "n2")]

    def answers(seen: base.Seen) -> bool:
        try:
            with urllib.request.urlopen(f"http://{seen.addresses[0]}:8000/", timeout=5) as page:
                return page.status == 200
        except OSError:
            return False

    for seen in made:
        worlds.wait_until(lambda seen=seen: answers(seen), what="an answer")
    assert [seen.addresses for seen in made] == [(f"{worlds.NETWORK}.1",), (f"{worlds.NETWORK}.2",)]


def test_what_runs_is_ready_and_its_end_is_told_until_it_is_dropped(world: worlds.World) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    assert (made.state, made.reason.code, made.reason.arguments) == (READY, "running", {"pid": world.record()["pid"]})
    assert only(handler) == made
    world.kill()
    worlds.wait_until(lambda: only(handler).state is FAILED, what="its end seen")
    for _ in range(2):
        seen = only(world.handler())
        assert (seen.state, seen.reason.code, seen.instance_id) == (FAILED, "exited", made.instance_id)
        assert "is gone" in seen.reason.arguments["detail"]
        assert "occo logs n1" in seen.reason.arguments["detail"]
    handler.drop(made.instance_id, 5.0)
    assert handler.observe(["n1"], 5.0) == {"n1": ()}


@pytest.mark.usefixtures("never_reaping")
def test_a_zombie_is_dead(world: worlds.World) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    pid = world.record()["pid"]
    os.kill(pid, 9)
    worlds.wait_until(lambda: only(handler).state is FAILED, what="its end seen")
    os.kill(pid, 0)  # the kernel still knows it
    handler.drop(made.instance_id, 5.0)
    assert handler.observe(["n1"], 5.0) == {"n1": ()}


def test_a_process_whose_first_thread_has_ended_lives(world: worlds.World) -> None:
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    handler = world.handler()
    made = handler.create(world.creation(command=worlds.python(code)))
    stat = pathlib.Path(f"/proc/{world.record()['pid']}/stat")
    worlds.wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", what="the end of the thread")
    assert only(handler).state is READY
    handler.drop(made.instance_id, 5.0)
    worlds.wait_until(lambda: not stat.exists(), what="its end")


def test_a_pid_that_is_used_again_is_another_process(world: worlds.World, stranger: subprocess.Popen[bytes]) -> None:
    handler = world.handler()
    handler.create(world.creation())
    start = process_launcher.start_of(stranger.pid)
    instance_id = world.change_record(pid=stranger.pid, start=start - 1)
    assert only(handler).state is FAILED
    handler.drop(instance_id, 5.0)
    assert handler.observe(["n1"], 5.0) == {"n1": ()}
    assert stranger.poll() is None
    assert not world.running()  # what bore the node's name was ended all the same


def test_a_process_of_another_boot_is_another_process(world: worlds.World, stranger: subprocess.Popen[bytes]) -> None:
    handler = world.handler()
    handler.create(world.creation())
    world.kill()
    start = process_launcher.start_of(stranger.pid)
    instance_id = world.change_record(pid=stranger.pid, start=start, boot="another boot")
    seen = only(handler)
    assert (seen.state, seen.reason.code) == (FAILED, "exited")
    assert "ended when the host did" in seen.reason.arguments["detail"]
    handler.drop(instance_id, 5.0)
    assert stranger.poll() is None


def test_an_instance_id_that_is_not_recorded_drops_nothing(
    world: worlds.World, stranger: subprocess.Popen[bytes]
) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    start = process_launcher.start_of(stranger.pid)
    for wrong in (f"n1:{stranger.pid}:{start}", f"n2:{stranger.pid}:{start}", f"n1:{world.record()['pid']}:1", "n1"):
        handler.drop(wrong, 5.0)
    assert stranger.poll() is None
    assert only(handler) == made


def test_a_signal_goes_to_the_process_that_was_meant(stranger: subprocess.Popen[bytes]) -> None:
    start = process_launcher.start_of(stranger.pid)
    meant = process_table.Process(pid=stranger.pid, start=start - 1, group=0, session=0, dead=False)
    process_table.send(meant, worlds.signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        stranger.wait(0.1)


def test_what_is_started_while_all_are_looked_at_is_seen() -> None:
    """What forks and exits without end would slip through a list of pids that was made once."""
    looking = process_table.every()
    next(looking)
    with worlds.stranger() as late:
        assert late.pid in {one.pid for one in looking}
        late.kill()


def test_a_lost_record_loses_no_process(world: worlds.World) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    shutil.rmtree(world.root)
    for seen in (only(handler), *handler.sweep("infra-1", 5.0), world.handler().create(world.creation())):
        assert (seen.instance_id, seen.infra_id, seen.addresses, seen.state) == (
            made.instance_id,
            "infra-1",
            made.addresses,
            READY,
        )
    with pytest.raises(errors.TransientError, match="still runs"):
        handler.forget("n1")
    handler.drop("n1:1:1", 5.0)
    assert only(handler).state is READY
    world.drop_all(handler)
    assert not world.running()


def test_a_record_that_is_made_while_it_is_looked_for_counts(
    world: worlds.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    find, looks = handler._record, iter([None])
    monkeypatch.setattr(handler, "_record", lambda node_id: next(looks, find(node_id)))
    assert only(handler) == made


def test_a_record_that_cannot_be_read_hides_no_other(world: worlds.World) -> None:
    handler = world.handler()
    first, second = handler.create(world.creation()), handler.create(world.creation("n2"))
    world.record_path("n2").write_text('{"node_id": "n2"')
    seen = handler.observe(["n1", "n2"], 5.0)
    assert [one.instance_id for one in (*seen["n1"], *seen["n2"])] == [first.instance_id, second.instance_id]


def test_what_cannot_be_looked_at_is_not_gone(world: worlds.World) -> None:
    """Out of file descriptors: neither the record nor the process can be read. That is no answer."""
    handler = world.handler()
    handler.create(world.creation())
    with no_more_files(), pytest.raises(errors.CloudSilent, match="Too many open files"):
        handler.observe(["n1"], 5.0)
    with no_more_files(), pytest.raises(errors.CloudSilent, match="Too many open files"):
        handler.sweep("infra-1", 5.0)
    with no_more_files(but=1), pytest.raises(OSError, match="Too many open files"), open(os.devnull):
        process_table.look(1)
    with no_more_files(), pytest.raises(errors.TransientError):
        handler.create(world.creation("n2"))


@contextlib.contextmanager
def no_more_files(but: int = 0) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for descriptor in held[:but]:
            os.close(descriptor)
        del held[:but]
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_on_another_host_nothing_is_known_and_nothing_done(
    world: worlds.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world.handler()
    made = here.create(world.creation())
    monkeypatch.setattr(process, "host_id", lambda: "elsewhere-0123")
    for handler in (here, process.ProcessHandler(here_account(world), {}, {}, {"root": "/somewhere/else"})):
        looks = (
            lambda h=handler: h.observe(["n1"], 5.0),
            lambda h=handler: h.sweep("infra-1", 5.0),
            lambda h=handler: h.logs(made.instance_id, 5, 5.0),
        )
        acts = (
            lambda h=handler: h.create(world.creation("n2")),
            lambda h=handler: h.drop(made.instance_id, 5.0),
            lambda h=handler: h.forget("n1"),
        )
        for error, calls in ((errors.CloudSilent, looks), (errors.TransientError, acts)):
            for call in calls:
                with pytest.raises(
                    error, match=r"run on host .*, this worker on elsewhere-0123: start a worker there"
                ):
                    call()
    assert len(world.running()) == 1
    other = world.handler()  # a worker of elsewhere with the same root, on a shared disk
    assert other.observe(["n1"], 5.0) != {"n1": ()}  # this process is on the same machine after all: by environment
    world.kill()
    worlds.wait_until(lambda: not world.running())
    assert other.observe(["n1"], 5.0) == {"n1": ()}
    assert other.sweep("infra-1", 5.0) == ()


def here_account(world: worlds.World) -> str:
    return f"process:{HERE}:{world.root}"


HERE = process.host_id()


def test_the_account_names_host_and_root(world: worlds.World, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(world.root)
    account = process.ProcessHandler.account({}, {"root": str(link)})
    assert account == process.ProcessHandler.account({}, {"root": str(world.root)}) == here_account(world)
    home = os.path.realpath(os.path.expanduser("~/.occopus/processes"))
    assert process.ProcessHandler.account({}, {}) == f"process:{HERE}:{home}"


def test_the_root_is_that_of_the_account(world: worlds.World, tmp_path: pathlib.Path) -> None:
    """Nodes that were made before the configuration's root was changed are still looked after."""
    made = world.handler().create(world.creation())
    moved = process.ProcessHandler(here_account(world), {}, {}, {"root": str(tmp_path / "new")})
    assert only(moved) == made


def test_two_installations_do_not_see_each_other(make_world: Callable[..., worlds.World]) -> None:
    ours, theirs = make_world(), make_world()
    mine, other = ours.handler().create(ours.creation()), theirs.handler().create(theirs.creation())
    assert mine.addresses != other.addresses
    for world, made in ((ours, mine), (theirs, other)):
        assert only(world.handler()) == made
        assert world.handler().sweep("infra-1", 5.0) == (made,)
    shutil.rmtree(ours.root)  # also without records
    assert [seen.instance_id for seen in ours.handler().sweep("infra-1", 5.0)] == [mine.instance_id]
    ours.drop_all(ours.handler())
    assert only(theirs.handler()) == other


def test_the_start_of_a_process_is_the_same_as_psutil_knows(stranger: subprocess.Popen[bytes]) -> None:
    psutil = pytest.importorskip("psutil")
    ticks = process_launcher.start_of(stranger.pid) / os.sysconf("SC_CLK_TCK")
    assert psutil.boot_time() + ticks == pytest.approx(psutil.Process(stranger.pid).create_time(), abs=0.02)


def test_without_proc_psutil_answers(
    world: worlds.World, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of macOS, as far as it can be gone here."""
    proc = process_table.look(stranger.pid)
    assert proc is not None
    monkeypatch.setattr(process_table, "LINUX", False)
    there = process_table.look(stranger.pid)
    assert there is not None
    assert (there.group, there.session, there.dead) == (proc.group, proc.session, False)
    stranger.kill()
    worlds.wait_until(lambda: not process_table.is_running(stranger.pid, there.start), what="a zombie")
    stranger.wait()
    assert process_table.look(stranger.pid) is None
    assert process_table.environment(stranger.pid) == {}
    handler = world.handler()
    handler.create(world.creation())
    assert only(handler).state is READY
    world.drop_all(handler)
    assert not world.running()
