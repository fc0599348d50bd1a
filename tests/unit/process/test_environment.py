"""What a process is given: a clean environment, no descriptors, default signals, files that only it can read."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import stat
import sys
from collections.abc import Iterator

import pydantic
import pytest

from occo_celery import errors
from occo_celery.plugins.resourcehandler import process_start
from tests.unit.process import world as worlds

TELL = f"""
import json, os, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
mask = os.umask(0)
fds = {{}}
for number in range(64):
    try:
        fds[number] = os.readlink(f"/proc/self/fd/{{number}}")
    except FileNotFoundError:
        pass
told = dict(
    environment=dict(os.environ), arguments=sys.argv[1:], directory=os.getcwd(), umask=mask, fds=fds,
    blocked=status["SigBlk"], ignored=status["SigIgn"],
    pid=os.getpid(), session=os.getsid(0), group=os.getpgrp(), parent=os.getppid(),
    dumped=[open(os.environ[name]).read() for name in ("OCCO_CONTEXT_FILE", "OCCO_ATTRIBUTES_FILE")],
)
print(json.dumps(told), flush=True)
{worlds.SLEEP}
"""


@pytest.fixture
def like_a_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a worker may have of its own: secrets, open files, signals ignored and blocked, another umask."""
    monkeypatch.setenv("OCCO_SECRET_KEY", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("LANG", "C.utf8")
    monkeypatch.setenv("VIRTUAL_ENV", "/a/venv")
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    umask = os.umask(0o077)
    yield
    os.umask(umask)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, action in before.items():
        signal.signal(number, action)
    os.close(leak)


@pytest.mark.usefixtures("like_a_worker")
def test_a_process_has_nothing_of_the_workers(world: worlds.World) -> None:
    creation = world.creation(
        command=[*worlds.python(TELL), "${OCCO_ADDRESS}:80", "$OCCO_NODE_ID", "$HOME$$", "$OCCO_OTHER"],
        section={"environment": {"A": "section", "B": "section", "URL": "http://${OCCO_ADDRESS}/"}},
        environment={"B": "context", "OCCO_NODE_ID": "forged", "PASSWORD": "pa$$word"},
        user_data="#cloud-config\n{}",
        attributes={"ports": [80]},
    )
    made = world.handler().create(creation)
    told = world.told()
    assert told.pop("environment") == {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "LANG": "C.utf8",
        "VIRTUAL_ENV": "/a/venv",
        "A": "section",
        "B": "context",
        "URL": f"http://{worlds.NETWORK}.1/",
        "PASSWORD": "pa$$word",
        "OCCO_ROOT": str(world.root),
        "OCCO_NODE_ID": "n1",
        "OCCO_INFRA_ID": "infra-1",
        "OCCO_NODE_NAME": "web",
        "OCCO_ADDRESS": made.addresses[0],
        "OCCO_CONTEXT_FILE": f"{world.root}/n1/context",
        "OCCO_ATTRIBUTES_FILE": f"{world.root}/n1/attributes.json",
    }
    assert told["arguments"] == [f"{worlds.NETWORK}.1:80", "n1", "$HOME$$", "$OCCO_OTHER"]
    assert told["directory"] == f"{world.root}/n1/work"
    assert told["umask"] == 0o022
    assert told["fds"] == {"0": os.devnull, "1": f"{world.root}/n1/output", "2": f"{world.root}/n1/output"}
    assert int(told["blocked"], 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ
    # ... and 32 and 33 belong to the C library, which lets nobody change them: they are inherited as they are.
    ignored = int(told["ignored"], 16) & ~(1 << 31 | 1 << 32)
    assert ignored == sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    assert told["session"] == told["group"] == told["pid"]
    assert told["parent"] != os.getpid()
    assert [told["dumped"][0], json.loads(told["dumped"][1])] == ["#cloud-config\n{}", {"ports": [80]}]


def test_a_worker_without_anything_gives_a_path_and_a_language(
    world: worlds.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    world.handler().create(world.creation(command=worlds.python(TELL)))
    variables = world.told()["environment"]
    assert (variables["PATH"], variables["LANG"]) == (os.defpath, "C.UTF-8")


def test_what_is_kept_is_the_owners_alone_and_the_environment_is_not_kept(world: worlds.World) -> None:
    umask = os.umask(0)
    try:
        world.handler().create(
            world.creation(user_data="secret", attributes={"a": "secret"}, environment={"PASSWORD": "hunter2"})
        )
    finally:
        os.umask(umask)
    node = world.root / "n1"
    assert stat.S_IMODE(world.root.stat().st_mode) == stat.S_IMODE(node.stat().st_mode) == 0o700
    for name in ("context", "attributes.json", "record.json", "output"):
        assert stat.S_IMODE((node / name).stat().st_mode) == 0o600, name
    assert not any(b"hunter2" in path.read_bytes() for path in world.root.rglob("*") if path.is_file())


def test_a_command_may_be_a_text_and_no_shell_reads_it(world: worlds.World) -> None:
    code = "import sys, json, time; print(json.dumps(sys.argv[1:]), flush=True); time.sleep(600)"
    command = f"{sys.executable} -c '{code}' 'a b' ';' $X *"
    world.handler().create(world.creation(command=command))
    assert world.told() == ["a b", ";", "$X", "*"]


def test_the_working_directory_and_what_is_in_it(world: worlds.World, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "bin" / "tell"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "[\\"$PWD\\"]"\nexec sleep 600\n')
    script.chmod(0o755)
    section = {"working_directory": str(tmp_path)}
    world.handler().create(world.creation(command="bin/tell", section=section))
    assert world.told() == [str(tmp_path)]


def test_a_large_context_arrives(world: worlds.World) -> None:
    text = "x" * 1_000_000
    environment = {f"LONG{number}": "y" * 100_000 for number in range(5)}
    world.handler().create(world.creation(user_data=text, environment=environment))
    assert (world.root / "n1" / "context").read_text() == text


HOLDS = "/hunter2/value"  # a template may have put a secret into any of them
WRONG = {
    "no such command": ({"command": "hunter2-command"}, "command: no program of that name is in PATH"),
    "no such path": ({"command": [HOLDS]}, "command: there is no such file"),
    "PATH of its own": ({"command": "sh", "environment": {"PATH": HOLDS}}, "command: no program of that name"),
    "not executable": ({"command": "/etc/passwd"}, "command: the file is not executable"),
    "a folder": ({"command": "/etc"}, "command: there is no such file"),
    "quotes": ({"command": "hunter2 'x"}, "No closing quotation"),
    "blank": ({"command": "  "}, "empty"),
    "empty": ({"command": [""]}, "empty"),
    "a NUL": ({"command": ["sh", "hunter2\0"]}, "NUL"),
    "a NUL in a variable": ({"command": "sh", "environment": {"A": "hunter2\0"}}, "'A'"),
    "a wrong name": ({"command": "sh", "environment": {"A=B": "hunter2"}}, "'A=B'"),
    "no directory": ({"command": "sh", "working_directory": HOLDS}, "working_directory does not exist"),
    "a relative directory": ({"command": "sh", "working_directory": "hunter2"}, "must be an absolute path"),
    "a wrong type": ({"command": "sh", "environment": {"A": 5}}, "environment.A"),
    "too long": ({"command": ["sh", "hunter2" * 500_000]}, "Argument list too long"),
    "a secret for all to see": ({"command": "sh {{ secret('x') }}"}, "hand secrets over in `environment`"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_can_never_be_started(world: worlds.World, what: str) -> None:
    section, message = WRONG[what]
    handler = world.handler()
    with pytest.raises(errors.PermanentError, match=message) as caught:
        handler.create(world.creation(section=section))
    assert "hunter2" not in str(caught.value)
    assert_nothing_left(world)


def test_what_turns_out_not_to_be_a_program(world: worlds.World, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "hunter2"
    script.write_text("no interpreter is named here\n")
    script.chmod(0o755)
    with pytest.raises(errors.PermanentError, match="the command cannot be started: Exec format error") as caught:
        world.handler().create(world.creation(command=[str(script)]))
    assert "hunter2" not in str(caught.value)
    assert_nothing_left(world)


def test_a_program_that_is_being_written_may_be_started_later(world: worlds.World, tmp_path: pathlib.Path) -> None:
    program = tmp_path / "busy"
    program.write_bytes(pathlib.Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    creation = world.creation(command=[str(program), "600"])
    with program.open("ab"), pytest.raises(errors.TransientError, match="Text file busy") as caught:
        world.handler().create(creation)
    assert not isinstance(caught.value, errors.OutcomeUnknown)
    world.handler().create(creation)
    assert len(world.running()) == 1


def assert_nothing_left(world: worlds.World) -> None:
    """Not listed, no address held, and the node can be made as soon as what was wrong is put right."""
    handler = world.handler()
    assert handler.observe(["n1"], 5.0) == {"n1": ()}
    assert not (world.root / "n1").exists()
    assert handler.create(world.creation("n2")).addresses == (f"{worlds.NETWORK}.1",)
    assert handler.create(world.creation("n1")).addresses == (f"{worlds.NETWORK}.2",)


@pytest.mark.parametrize(
    "command",
    ["echo {{ secret('x') }}", ["echo", "{{ secret('x')|upper }}"], "{% set s = secret %}echo {{ s('x') }}"],
)
def test_a_template_that_would_show_a_secret_to_the_whole_host_is_refused(command: str | list[str]) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"`command` must not hold a secret: .*`environment`"):
        process_start.ProcessSection(type="process", command=command)


@pytest.mark.parametrize(
    "command", ["echo secret('x')", "echo {{ variables.secret }}", "echo {{ 'secret' }}", "echo {{ secret( }}"]
)
def test_a_command_may_speak_of_secrets(command: str) -> None:
    environment = {"PASSWORD": "{{ secret('x') }}"}
    process_start.ProcessSection(type="process", command=command, environment=environment)


@pytest.mark.parametrize("node_id", ["", ".", "..", "../n1", "a/b", "archive", "addresses.sqlite", ".locks", "a:b"])
def test_a_node_id_that_cannot_name_a_folder(world: worlds.World, node_id: str) -> None:
    handler = world.handler()
    with pytest.raises(errors.PermanentError, match="cannot name a folder"):
        handler.create(world.creation(node_id))
    assert handler.observe([node_id], 5.0) == {node_id: ()}
    handler.forget(node_id)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "10.0.0.0/8"}, "not within 127.0.0.0/8"),
        ({"network": "127.77.0.0/99"}, "127.77.0.0/99"),
        ({"stop_grace": -1}, "stop_grace"),
        ({"grace": 1}, "grace"),
    ],
)
def test_wrong_options_are_an_error_of_the_configuration(
    world: worlds.World, options: dict[str, object], message: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        world.handler(**options)
