"""The resource handler `machine`: small machines on the worker's host, in which cloud-init really runs.

A cloud to try cloud-init infrastructures on: each machine has a network of its own with an address on a bridge, and
sees the host's files, of which it changes copies; its cloud-config is executed by the host's cloud-init. It needs
Linux and root. A machine is a process as the handler `process` starts, finds and ends them: what is special is what
that process does first (machine_boot.py). Its namespaces are the kernel's to clear away when it ends.

Options (this handler's part of the configuration): see Options.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import sys
from typing import ClassVar, Literal

import pydantic

from occo_celery import errors
from occo_celery.plugins.resourcehandler import base, machine_boot, process, process_folders, process_start, sections

#: Programs that a machine is made with, and Debian's packages of them.
PROGRAMS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "cloud-init": "cloud-init",
}
#: Where programs of the system are, also for workers that were not told.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Options(process.Options):
    """network: of the machines; its second address is the bridge's. bridge: its name, made when it is not there.
    namespace: the network namespace that has the bridge; without one, it is the worker's own. For the others see the
    handler `process`."""

    root: str = "~/.occopus/machines"
    network: str = "10.77.0.0/16"
    bridge: str = pydantic.Field(default="occo0", pattern=r"^[A-Za-z0-9_.-]{1,15}$")
    namespace: str | None = pydantic.Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")

    @pydantic.field_validator("network")
    @classmethod
    def _loopback(cls, text: str) -> str:
        """In place of what processes need."""
        network = ipaddress.IPv4Network(text)
        if not network.is_private or network.is_loopback or network.prefixlen > 29:
            raise ValueError(f"{text} is not a private network of eight addresses or more")
        return str(network)


class MachineSection(pydantic.BaseModel):
    """A machine is what its context makes of it."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["machine"]
    name: str | None = None


class MachineHandler(process.ProcessHandler):
    """Machines under one root on one host; on any other host it knows nothing, and says so."""

    schema: ClassVar[type[pydantic.BaseModel]] = MachineSection
    kind: ClassVar[str] = "machine"
    options: ClassVar[type[process.Options]] = Options

    def _plan(self, creation: base.Creation, address: str) -> process_start.Launch:
        if creation.environment or creation.command:
            raise errors.PermanentError(
                "machine: what runs on a machine is told by contextualisation of type cloudinit, not docker"
            )
        sections.valid(MachineSection, creation.section, "machine")
        _require_host()
        options = self._options
        assert isinstance(options, Options)
        network = ipaddress.IPv4Network(options.network)
        told = {
            "root": self._root,
            "context": os.path.join(self._root, creation.node_id, process_folders.CONTEXT),
            "node_id": creation.node_id,
            "hostname": creation.node_name,
            "address": address,
            "prefix": network.prefixlen,
            "gateway": str(network[1]),
            "bridge": options.bridge,
            "namespace": options.namespace,
        }
        own = process_start.own_environment(self._root, creation, address)
        return process_start.Launch(
            executable=sys.executable,
            arguments=[sys.executable, "-I", "-S", machine_boot.__file__, json.dumps(told)],
            environment={"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", **own},
            directory=os.path.join(self._root, creation.node_id, process_folders.WORK),
        )

    def _reserved(self) -> set[str]:
        return {str(ipaddress.IPv4Network(self._options.network)[1])}

    def _check(self, address: str) -> None:
        """The machine's own network has it."""


def _require_host() -> None:
    """Raises PermanentError, with all that is missing on this host."""
    lacking = [
        f"{name} (Debian: {package})" for name, package in PROGRAMS.items() if shutil.which(name, path=PATH) is None
    ]
    if os.geteuid() != 0:
        lacking.insert(0, "root: start the instructions worker as root")
    if lacking:
        raise errors.PermanentError(f"machine: missing on this host: {', '.join(lacking)}")
