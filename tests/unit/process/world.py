"""A root of processes for one test: handlers as several workers would have them, and looks past the handler."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from occo_celery.plugins.resourcehandler import base, process, process_launcher, process_table
from tests.contract import cases

TIMEOUT = 10.0
#: The tests' own addresses: others may run processes on this host.
NETWORK = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 256}"
SLEEP = "import time; time.sleep(600)"

wait_until = cases.wait_until


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *arguments]


@dataclasses.dataclass
class World:
    """root: where the processes are kept; scratch: a folder for what the test's processes leave behind."""

    root: pathlib.Path
    scratch: pathlib.Path
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def handler(self, **options: Any) -> process.ProcessHandler:
        """A new handler object, as a restarted worker has."""
        given = {"root": str(self.root), "network": f"{NETWORK}.0/24", **self.options, **options}
        account = process.ProcessHandler.account({}, given)
        return process.ProcessHandler(account, {"type": "process", "command": "true"}, {}, given)

    def creation(self, node_id: str = "n1", command: Sequence[str] | str = "", **changed: Any) -> base.Creation:
        """Of a process that notes its start in scratch/starts and sleeps, unless there is another command."""
        starts = self.scratch / "starts"
        noting = f"open({str(starts)!r}, 'a').write({node_id!r} + '\\n'); {SLEEP}"
        section = {"type": "process", "command": command or python(noting), **changed.pop("section", {})}
        given: dict[str, Any] = {"infra_id": "infra-1", "node_name": "web", "section": section, **changed}
        return base.Creation(node_id=node_id, **given)

    def starts(self) -> collections.Counter[str]:
        """How often the command of each node has been started."""
        try:
            return collections.Counter((self.scratch / "starts").read_text().split())
        except FileNotFoundError:
            return collections.Counter()

    def running(self, node_id: str | None = None) -> list[process_table.Process]:
        """The living processes with the environment of this root, looked for past the handler."""
        return [
            one.process
            for one in process_table.tagged("OCCO_ROOT")
            if one.environment["OCCO_ROOT"] == str(self.root) and node_id in (None, one.environment["OCCO_NODE_ID"])
        ]

    def kill(self, node_id: str | None = None) -> None:
        """At once as they are found: some of the tests' processes fork and exit without end."""
        for one in process_table.every():
            variables = process_table.environment(one.pid)
            if variables.get("OCCO_ROOT") == str(self.root) and node_id in (None, variables["OCCO_NODE_ID"]):
                process_table.send(one, signal.SIGKILL)

    def record(self, node_id: str = "n1") -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.record_path(node_id).read_text())
        return record

    def record_path(self, node_id: str = "n1") -> pathlib.Path:
        return self.root / node_id / "record.json"

    def change_record(self, node_id: str = "n1", **fields: Any) -> str:
        """Returns the instance id as of the changed record."""
        record = {**self.record(node_id), **fields}
        self.record_path(node_id).write_text(json.dumps(record))
        return f"{node_id}:{record['pid']}:{record['start']}"

    def told(self, node_id: str = "n1") -> Any:
        """What a process printed as one line of JSON."""
        output = self.root / node_id / "output"
        text = wait_until(lambda: output.exists() and output.read_text().endswith("\n") and output.read_text())
        return json.loads(str(text))

    def drop_all(self, handler: base.ResourceHandler, node_id: str = "n1") -> None:
        """Drop until nothing is listed, as the infraprocessor does."""

        def gone() -> bool:
            listed = handler.observe([node_id], TIMEOUT)[node_id]
            for seen in listed:
                handler.drop(seen.instance_id, TIMEOUT)
            return not listed

        wait_until(gone, what=f"{node_id} gone")

    def launcher(self, at: str, then: str) -> str:
        """A launcher that runs this code at a step: the path of its script."""
        script = self.scratch / f"launcher-{at}-{len(list(self.scratch.iterdir()))}.py"
        folder = str(pathlib.Path(process_launcher.__file__).parent)
        script.write_text(
            f"import os, signal, sys, time\nsys.path.insert(0, {folder!r})\nimport process_launcher\n"
            f"def step(name):\n    if name == {at!r}:\n        {then}\n"
            "process_launcher.step = step\nprocess_launcher.main()\n"
        )
        return str(script)

    def waiting_launcher(self, at: str) -> tuple[str, pathlib.Path, pathlib.Path]:
        """A launcher that stops at a step: its script, the file that it makes there, the file that lets it go on."""
        arrived, go = self.scratch / "arrived", self.scratch / "go"
        stop = f"open({str(arrived)!r}, 'w').close()"
        wait = f"while not os.path.exists({str(go)!r}): time.sleep(0.005)"
        return self.launcher(at, f"{stop}\n        {wait}"), arrived, go


def in_child(work: Callable[[], object]) -> int:
    """The pid of a forked child that does the work; it ends with 0, or 1 if the work failed."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(status)


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stranger(environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process, leader of its own session, that is nobody's node."""
    return subprocess.Popen(python(SLEEP), start_new_session=True, env=dict(environment or {}))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
