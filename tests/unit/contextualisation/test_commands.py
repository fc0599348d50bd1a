"""``cmd(command)`` of templates: off, and on."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import psutil
import pytest

from occo_celery import errors, settings, wiring
from occo_celery.infraprocessor import resolve
from occo_celery.model import description, instance, status
from occo_celery.plugins.contextualisation import commands, templates
from tests.contract.cases import wait_until

NAMES = {"cmd": commands.run, "secret": lambda name: "hunter2"}


def render(text: str) -> str:
    return templates.render(text, NAMES, "w")


def refused(text: str) -> str:
    with pytest.raises(errors.TemplateError) as caught:
        render(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or "hunter2" not in str(caught.value.__context__)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ cmd('echo one  \"two  three\"') }}", "one two  three"),
        ("{{ cmd('printf \" \\n a b \\n\\n\"') }}", "a b"),
        ("{{ cmd('echo $HOME; id | cat > /x `id` *') }}", "$HOME; id | cat > /x `id` *"),  # no shell
        ("{{ cmd('echo grüße') }}", "grüße"),
        ("{{ cmd('cat') }}", ""),  # nothing comes in
        ("{{ cmd('sh -c \"echo a; echo b >&2\"') }}", "a"),
        ("{{ cmd('echo a,b').split(',')|join('+') }}", "a+b"),
        ("{{ cmd('echo {{ 1 }}') }}", "{{ 1 }}"),  # is no template itself
    ],
)
def test_what_a_command_puts_out(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a\n{{ cmd('sh -c \"echo hunter2; exit 3\" hunter2') }}",
            "w, line 2: cmd(): the command ended with exit code 3",
        ),
        ("{{ cmd('sh -c \"kill -9 $$\"') }}", "w, line 1: cmd(): the command ended with exit code -9"),
        ("{{ cmd('no-such-hunter2') }}", "cmd(): the command cannot be run on the worker: No such file or directory"),
        ("{{ cmd('/etc/passwd hunter2') }}", "cmd(): the command cannot be run on the worker: Permission denied"),
        ("{{ cmd('echo hunter2\\0') }}", "it has a character that cannot be given"),
        ("{{ cmd('echo \"hunter2') }}", "cmd(): the command is empty, not a text, or has a quote that is not closed"),
        ("{{ cmd('') }}{{ cmd(5) }}", "the command is empty, not a text, or has"),
        ("{{ cmd(5) }}", "the command is empty, not a text, or has"),
        ("{{ cmd(['id']) }}", "the command is empty, not a text, or has"),
        ("{{ cmd('printf hunter2\\\\\\\\377') }}", "cmd(): what the command put out is not text in UTF-8"),
        ("{{ cmd('false ' ~ secret('x')) }}", "TemplateError (no details: the template uses a secret)"),
    ],
)
def test_a_command_that_fails_shows_neither_its_words_nor_its_output(text: str, expected: str) -> None:
    assert expected in refused(text)


def test_nothing_of_the_workers_comes_in() -> None:
    """A command that reads what the worker has as its input would wait for it."""
    kept, (reader, writer) = os.dup(0), os.pipe()
    try:
        os.dup2(reader, 0)
        assert render("{{ cmd('readlink /proc/self/fd/0') }}") == "/dev/null"
    finally:
        os.dup2(kept, 0)
        for one in (kept, reader, writer):
            os.close(one)


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: pathlib.Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "script").write_text(f"sleep 600 & echo $! > {started}; wait\n")
    message = refused(f"{{{{ cmd('sh {tmp_path}/script') }}}}")
    assert "cmd(): the command was not over after 5 s, and was ended" in message
    process = int(started.read_text())
    wait_until(lambda: not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    "text",
    [
        "{{ cmd.__globals__ }}",
        "{{ cmd.__globals__['os'].system('id') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ cmd.__code__ }}",
        "{{ cmd('id').__class__ }}",
        "{{ cmd('id').format_map({}) }}",
        "{{ run('id') }}",
    ],
)
def test_the_sandbox_refuses_all_else(text: str) -> None:
    refused(text)


WEB = description.NodeDescription(name="web", type="t")
DESIRED = description.StaticDescription(
    infra_id="i", name="shop", user_id="me", nodes=(WEB,), dependencies=(), topological_order=(("web",),)
)
ON_COMMAND = {
    "resource": {"type": "simulated", "name": "{{ cmd('echo of the resource') }}"},
    "contextualisation": {"type": "basic", "attributes": {"a": "{{ cmd('echo of the context') }}"}},
}
NODE = instance.Instance(
    node_id="n",
    infra_id="i",
    node_name="web",
    implementation=ON_COMMAND,
    lifecycle=instance.Lifecycle.CREATING,
    status=status.NodeStatus.PENDING,
    reason=status.Reason(code="planned"),
    version=1,
    created_at=0.0,
)


def system(tmp_path: pathlib.Path, text: str) -> wiring.System:
    path = tmp_path / "occopus_config.yaml"
    parts = "{uds: !UDS {}, resourcehandler: !ResourceHandler {}, configmanager: !ConfigManager {}}"
    path.write_text(f"logging:\ncomponents: {parts}\n{text}")
    return wiring.System(settings.load(path, environ={"HOME": str(tmp_path)}))


@pytest.mark.parametrize("text", ["", "contextualisation: {cmd: false}", "contextualisation: {}"])
def test_it_is_off_and_says_which_key_turns_it_on(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        system(tmp_path, text).resolver.render(DESIRED, NODE, timeout=5.0)
    assert str(caught.value) == (
        "node_def:t resource.name, line 1: cmd() is turned off; `contextualisation: {cmd: true}` in the "
        "configuration turns it on"
    )


def test_the_configuration_turns_it_on(tmp_path: pathlib.Path) -> None:
    told = system(tmp_path, "contextualisation: {cmd: true}").resolver.render(DESIRED, NODE, timeout=5.0).creation
    assert (told.section["name"], told.attributes) == ("of the resource", {"a": "of the context"})


def test_passes_run_no_commands(tmp_path: pathlib.Path) -> None:
    """A health check would run one every time that it looks."""
    names = system(tmp_path, "contextualisation: {cmd: true}").resolver.names(DESIRED, NODE)
    with pytest.raises(errors.TemplateError, match="not for health checks and mapped attributes"):
        templates.render("{{ cmd('id') }}", names, "w")


def test_a_mapped_attribute_that_is_made_by_a_command_is_withheld(tmp_path: pathlib.Path) -> None:
    app = description.NodeDescription(name="app", type="t")
    mapping = description.AttributeMapping(source="a", target="b")
    desired = dataclasses.replace(
        DESIRED,
        nodes=(WEB, app),
        dependencies=(description.Dependency(dependent="app", dependee="web", mappings=(mapping,)),),
        topological_order=(("web",), ("app",)),
    )
    running = dataclasses.replace(NODE, lifecycle=instance.Lifecycle.RUNNING)
    (peer,) = resolve.inputs(desired, app, [running])["peers"]["web"]
    assert "not for health checks and mapped attributes" in peer["withheld"]["a"]
