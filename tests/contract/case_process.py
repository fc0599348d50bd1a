"""The handler `process` in the contract suite: real processes under a root of the test's own."""

from __future__ import annotations

import pathlib
import signal
import sys
from typing import Any

from occo_celery.plugins.resourcehandler import base, process, process_table
from tests.contract import cases

SLEEPER = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    root = str(tmp_path.resolve() / "processes")
    options = {"root": root, "stop_grace": 0.5}
    section = {"type": "process", "command": SLEEPER}

    def make_handler() -> process.ProcessHandler:
        return process.ProcessHandler(process.ProcessHandler.account(section, options), section, {}, options)

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(node_id=node_id, infra_id=infra_id, node_name="web", section={**section, **changed})

    def kill(node_id: str | None) -> None:
        for one in process_table.tagged("OCCO_NODE_ID"):
            if one.environment.get("OCCO_ROOT") == root and node_id in (None, one.environment["OCCO_NODE_ID"]):
                process_table.send(one.process, signal.SIGKILL)

    return cases.Case(
        name="process",
        make_handler=make_handler,
        creation=creation,
        vanish=kill,
        settle=None,
        bad_creation=lambda node_id: creation(node_id, command="surely-no-such-command --at-all"),
        cleanup=lambda: kill(None),
        user_data_of=lambda node_id: pathlib.Path(root, node_id, "context").read_text("utf-8"),
        why_not={
            "throttle": "a host refuses nobody for asking often",
            "lose_answer": "calls are of this process; what dies in the middle of one is in tests/unit/process",
            "wrong_credentials": "there are none",
        },
    )
