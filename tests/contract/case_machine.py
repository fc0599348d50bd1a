"""The handler `machine` in the contract suite: real machines under a root of the test's own."""

from __future__ import annotations

import pathlib
import signal
from typing import Any

import pytest

from occo_celery.plugins.resourcehandler import base, machine, process_table
from tests import machines
from tests.contract import cases

MARKS = [pytest.mark.system]


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    root = str(tmp_path.resolve() / "machines")
    options = {"root": root, "stop_grace": 0.5, "namespace": machines.namespace()}
    section = {"type": "machine"}

    def make_handler() -> machine.MachineHandler:
        return machine.MachineHandler(machine.MachineHandler.account(section, options), section, {}, options)

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(node_id=node_id, infra_id=infra_id, node_name="web", section={**section, **changed})

    def kill(node_id: str | None) -> None:
        for one in process_table.tagged("OCCO_NODE_ID"):
            if one.environment.get("OCCO_ROOT") == root and node_id in (None, one.environment["OCCO_NODE_ID"]):
                process_table.send(one.process, signal.SIGKILL)

    def user_data_of(node_id: str) -> str | None:
        """As cloud-init finds it on the machine."""
        for one in process_table.tagged("OCCO_NODE_ID"):
            seed = pathlib.Path(f"/proc/{one.process.pid}/root/var/lib/cloud/seed/nocloud/user-data")
            if one.environment["OCCO_NODE_ID"] == node_id and seed.exists():
                return seed.read_text("utf-8")
        return None

    return cases.Case(
        name="machine",
        make_handler=make_handler,
        creation=creation,
        vanish=kill,
        settle=None,
        bad_creation=lambda node_id: creation(node_id, size="large"),
        cleanup=lambda: kill(None),
        user_data_of=user_data_of,
        why_not={
            "throttle": "a host refuses nobody for asking often",
            "lose_answer": "calls are of this process; what dies in the middle of one is in tests/unit/process",
            "wrong_credentials": "there are none",
        },
    )
