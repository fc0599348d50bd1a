"""`occo up` with a real supervisor and a real broker, and small programs in place of workers and beat."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.contract.cases import wait_until

#: Stands in for `occo`: says that it runs; asked to end, says so, takes its time, and says that it has ended.
STAND_IN = """
import json, os, signal, sys, time
name = sys.argv[-1]
def say(what):
    with open({log!r}, "a") as log:
        log.write(json.dumps([what, name, os.getpid(), os.environ.get("OCCO_HOME")]) + "\\n")
def end(*_):
    say("asked")
    time.sleep(0.3 if name != "beat" else 0.1)
    say("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("runs")
while True:
    signal.pause()
"""

UP = """
import os, sys
from occo_celery import embedded, errors, settings
try:
    sys.exit(embedded.run(settings.load(environ=dict(os.environ)), [sys.executable, {stand_in!r}]))
except errors.OccoError as problem:
    sys.exit(str(problem))
"""


class System:
    """An `occo up` on a home of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.home, self.log = folder / "home", folder / "said.jsonl"
        stand_in, self._up = folder / "stand_in.py", folder / "up.py"
        stand_in.write_text(STAND_IN.format(log=str(self.log)))
        self._up.write_text(UP.format(stand_in=str(stand_in)))
        self._environ = {**os.environ, "OCCO_HOME": str(self.home), "HOME": str(folder)}
        self._environ.pop("OCCOPUS_CONFIG_PATH", None)
        self.processes: list[subprocess.Popen[str]] = []

    def up(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(self._up)],
            env=self._environ,
            cwd=pathlib.Path(__file__).parents[3],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def said(self, what: str) -> dict[str, int]:
        """Name and process id of the programs that said it, in the order in which they did; the last time counts."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return {name: pid for word, name, pid, _ in map(json.loads, lines) if word == what}

    def story(self) -> list[tuple[str, str]]:
        return [tuple(json.loads(line)[:2]) for line in self.log.read_text().splitlines()]

    def run(self) -> bool:
        return set(self.said("runs")) == {"passes", "instructions", "beat"}

    def answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.home / "valkey.sock")) as client:
                return bool(client.ping())
        except redis.exceptions.RedisError:
            return False


@pytest.fixture
def system(short_path: pathlib.Path) -> Iterator[System]:
    made = System(short_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ends_in_order(system: System, number: signal.Signals) -> None:
    process = system.up()
    wait_until(system.run, what="all programs")
    wait_until(system.answers, what="the broker")
    process.send_signal(number)
    assert process.wait(timeout=30) == 0
    story = [one for one in system.story() if one[0] != "runs"]
    assert story[:2] == [("asked", "beat"), ("ended", "beat")]
    # The workers finish side by side.
    assert set(story[2:4]) == {("asked", "passes"), ("asked", "instructions")}
    assert set(story[4:]) == {("ended", "passes"), ("ended", "instructions")}
    log = (system.home / "log" / "supervisord.log").read_text()
    assert log.index("stopped: broker") > max(log.index("stopped: passes"), log.index("stopped: instructions"))
    assert not system.answers()


@pytest.mark.parametrize("name", ["passes", "instructions", "beat"])
def test_what_dies_is_started_again(system: System, name: str) -> None:
    system.up()
    wait_until(system.run, what="all programs")
    first = system.said("runs")[name]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: system.said("runs")[name] != first, what=f"{name} again")


def test_the_broker_comes_back_with_what_it_had(system: System) -> None:
    system.up()
    wait_until(system.answers, what="the broker")
    with redis.Redis(unix_socket_path=str(system.home / "valkey.sock")) as client:
        client.set("kept", "yes")
        client.execute_command("WAITAOF", 1, 0, 0)
        first = client.info("server")["process_id"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not system.answers(), what="its end")
    wait_until(system.answers, what="the broker again")
    with redis.Redis(unix_socket_path=str(system.home / "valkey.sock")) as client:
        assert client.get("kept") == b"yes"


def test_a_second_one_is_refused(system: System) -> None:
    first = system.up()
    wait_until(system.run, what="all programs")
    second = system.up()
    assert second.wait(timeout=30) == 1
    assert second.stderr is not None
    assert second.stderr.read() == f"another `occo up` is running on {system.home} (process {first.pid})\n"
    assert first.poll() is None


def test_the_lock_outlives_an_up_that_is_killed(system: System) -> None:
    first = system.up()
    wait_until(system.run, what="all programs")
    supervisor = int((system.home / "supervisord.pid").read_text())
    try:
        first.kill()
        first.wait()
        second = system.up()
        assert second.wait(timeout=30) == 1
        assert second.stderr is not None
        assert "another `occo up` is running" in second.stderr.read()
    finally:
        os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not (system.home / "supervisord.pid").exists(), what="supervisor's end")


def test_home_is_private_and_the_programs_know_it(system: System) -> None:
    system.up()
    wait_until(system.run, what="all programs")
    assert stat.S_IMODE(system.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((system.home / "supervisord.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((system.home / "valkey.sock").stat().st_mode) == 0o700
    assert {json.loads(line)[3] for line in system.log.read_text().splitlines()} == {str(system.home)}


def test_a_broker_that_was_left_behind_is_named(system: System, start_broker: Callable[[pathlib.Path], int]) -> None:
    system.home.mkdir(mode=0o700)
    pid = start_broker(system.home / "valkey.sock")
    process = system.up()
    assert process.wait(timeout=30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == (
        f"a broker is already running on {system.home / 'valkey.sock'} (process {pid}), left by an `occo up` "
        f"that was killed; end it first: kill {pid}\n"
    )


@pytest.fixture
def start_broker() -> Iterator[Callable[[pathlib.Path], int]]:
    from tests import brokers

    started: list[brokers.Valkey] = []

    def start(socket: pathlib.Path) -> int:
        started.append(brokers.Valkey(socket))
        started[0].start()
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return int(client.info("server")["process_id"])

    yield start
    for one in started:
        one.kill()
