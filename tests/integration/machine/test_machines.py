"""Machines: what cloud-init does in them, and what it does not do outside."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.contextualisation import cloudinit
from occo_celery.plugins.resourcehandler import base, machine, process_table
from tests import machines
from tests.contract.cases import wait_until

pytestmark = pytest.mark.system

TIMEOUT = 10.0

CONFIG = """#cloud-config
hostname: shop-1
write_files:
  - path: /srv/greeting
    content: "grüße\\n"
    permissions: '0640'
runcmd:
  - [sh, -c, "echo ran as $(id -un) on $(hostname) > /srv/ran"]
  - [busybox, httpd, -p, "8000", -h, /srv]
"""


@pytest.fixture
def root(tmp_path: pathlib.Path) -> Iterator[str]:
    yield str(tmp_path.resolve() / "machines")
    for one in process_table.tagged("OCCO_NODE_ID"):
        if one.environment.get("OCCO_ROOT") == str(tmp_path.resolve() / "machines"):
            process_table.send(one.process, signal.SIGKILL)


@pytest.fixture
def handler(root: str) -> machine.MachineHandler:
    options = {"root": root, "stop_grace": 0.5, "namespace": machines.namespace()}
    return machine.MachineHandler(machine.MachineHandler.account({}, options), {"type": "machine"}, {}, options)


def creation(user_data: str | None = None, **told: object) -> base.Creation:
    node_id = f"node-{uuid.uuid4().hex[:12]}"
    return base.Creation(
        node_id=node_id,
        infra_id="shop",
        node_name="web",
        section={"type": "machine"},
        user_data=user_data,
        timeout=TIMEOUT,
        **told,  # type: ignore[arg-type]
    )


def output(handler: machine.MachineHandler, made: base.Seen) -> str:
    return handler.logs(made.instance_id, 1000, TIMEOUT)


def up(handler: machine.MachineHandler, made: base.Seen) -> None:
    wait_until(lambda: "the machine is up" in output(handler, made), 60, "the end of cloud-init")


def on(node_id: str) -> pathlib.Path:
    """The machine's own root, seen from here."""
    for one in process_table.tagged("OCCO_NODE_ID"):
        root = pathlib.Path(f"/proc/{one.process.pid}/root")
        if one.environment["OCCO_NODE_ID"] == node_id and (root / "var/lib/cloud/seed").exists():
            return root
    raise LookupError(node_id)


def fetched(address: str, path: str) -> str:
    asked = f"import urllib.request as u; print(u.urlopen('http://{address}:8000/{path}', timeout=5).read().decode())"
    done = subprocess.run(
        [*machines.inside(), sys.executable, "-c", asked], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout.strip()


def test_a_cloud_config_is_carried_out(handler: machine.MachineHandler) -> None:
    made = handler.create(creation(CONFIG))
    up(handler, made)
    place = on(made.node_id)
    assert (place / "srv/greeting").read_text("utf-8") == "grüße\n"
    assert (place / "srv/greeting").stat().st_mode & 0o777 == 0o640
    assert (place / "srv/ran").read_text() == "ran as root on shop-1\n"
    assert wait_until(lambda: fetched(made.addresses[0], "ran")) == "ran as root on shop-1"


def test_all_parts_of_a_message_are_carried_out(handler: machine.MachineHandler) -> None:
    parts = {
        "type": "cloudinit",
        "context_template": [
            {"write_files": [{"path": "/srv/greeting", "content": "hello from {{ name }}\n"}]},
            "#!/bin/sh\necho grüße > /srv/script\n",
            "#cloud-boothook\n#!/bin/sh\nmkdir -p /srv && echo early > /srv/hook\n",
            "## template: jinja\n#cloud-config\n"
            "runcmd: [[sh, -c, 'echo {% raw %}{{ v1.instance_id }}{% endraw %} > /srv/id']]\n",
        ],
    }
    told = cloudinit.CloudinitContextualisation().render(parts, {"name": "web-1"})
    made = handler.create(creation(told.user_data))
    up(handler, made)
    place = on(made.node_id) / "srv"
    assert (place / "greeting").read_text() == "hello from web-1\n"
    assert (place / "script").read_text("utf-8") == "grüße\n"
    assert (place / "hook").read_text() == "early\n"
    assert (place / "id").read_text() == f"{made.node_id}\n"


def test_the_host_stays_as_it_was(handler: machine.MachineHandler) -> None:
    name = socket.gethostname()
    made = handler.create(creation(CONFIG))
    up(handler, made)
    assert not pathlib.Path("/srv/greeting").exists()
    assert socket.gethostname() == name
    assert made.node_id not in pathlib.Path("/proc/self/mounts").read_text()
    handler.drop(made.instance_id, TIMEOUT)

    def ended() -> bool:
        handler.drop(made.instance_id, TIMEOUT)
        return handler.observe([made.node_id], TIMEOUT)[made.node_id] == ()

    wait_until(ended)
    with pytest.raises(LookupError):
        on(made.node_id)

    def cables() -> list[str]:
        listed = subprocess.run([*machines.inside(), "ip", "-o", "link"], capture_output=True, text=True, check=True)
        return [line for line in listed.stdout.splitlines() if "@if" in line]

    wait_until(lambda: cables() == [], what="the end of its cable")


def test_a_machine_does_not_see_what_others_were_told(handler: machine.MachineHandler, root: str) -> None:
    first = handler.create(creation("#cloud-config\npassword: hunter2\n"))
    second = handler.create(creation())
    up(handler, first)
    up(handler, second)
    assert list((on(second.node_id) / root.lstrip("/")).rglob("*")) == []


def test_machines_reach_each_other_by_their_addresses(handler: machine.MachineHandler) -> None:
    first = handler.create(creation(CONFIG))
    up(handler, first)
    url = f"http://{first.addresses[0]}:8000/greeting"
    fetch = f"import urllib.request as u; open('/srv/got', 'wb').write(u.urlopen('{url}', timeout=5).read())"
    second = handler.create(creation(f'#cloud-config\nruncmd:\n  - [python3, -c, "{fetch}"]\n'))
    assert second.addresses != first.addresses
    up(handler, second)
    assert (on(second.node_id) / "srv/got").read_text("utf-8") == "grüße\n"


def test_when_its_first_process_dies_the_machine_is_gone(handler: machine.MachineHandler) -> None:
    made = handler.create(creation(CONFIG))
    up(handler, made)
    leader = int(made.instance_id.split(":")[1])
    os.kill(leader, signal.SIGKILL)
    wait_until(
        lambda: (
            not [
                one for one in process_table.tagged("OCCO_NODE_ID") if one.environment["OCCO_NODE_ID"] == made.node_id
            ]
        )
    )
    (seen,) = handler.observe([made.node_id], TIMEOUT)[made.node_id]
    assert seen.state is status.NodeStatus.FAILED


def test_a_config_that_is_partly_wrong_is_told_in_the_log(handler: machine.MachineHandler) -> None:
    made = handler.create(creation("#cloud-config\nruncmd:\n  - [surely-no-such-command]\n"))
    up(handler, made)
    assert "surely-no-such-command" in output(handler, made)


@pytest.mark.parametrize("told", [{"environment": {"A": "1"}}, {"command": "run"}])
def test_a_machine_is_no_container(handler: machine.MachineHandler, told: dict[str, object]) -> None:
    with pytest.raises(errors.PermanentError, match="cloudinit, not docker"):
        handler.create(creation(**told))


def test_what_is_missing_on_the_host_is_named(
    handler: machine.MachineHandler, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(machine, "PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(errors.PermanentError, match=r"root: .*, ip .*, unshare .*, cloud-init"):
        handler.create(creation())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "127.77.0.0/16"}, "not a private network"),
        ({"network": "8.8.8.0/24"}, "not a private network"),
        ({"network": "10.0.0.0/30"}, "not a private network"),
        ({"bridge": "a; rm -rf /"}, "bridge"),
        ({"namespace": "../x"}, "namespace"),
    ],
)
def test_options_that_cannot_be(options: dict[str, str], message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        machine.MachineHandler("machine:x:/y", {"type": "machine"}, {}, options)


def test_thirty_at_once(handler: machine.MachineHandler) -> None:
    made = [handler.create(creation("#cloud-config\n{}\n")) for _ in range(30)]
    assert len({one.addresses for one in made}) == 30
    listed = handler.observe([one.node_id for one in made], TIMEOUT)
    assert {some[0].state for some in listed.values()} == {status.NodeStatus.READY}
    for one in made[::10]:
        up(handler, one)
