"""How soon 30 machines of the resource handler `machine` are there. Needs root, iproute2 and cloud-init.

machines_30_s: from the first call to the last machine that runs. machines_30_cloudinit_s: until cloud-init has
carried out a cloud-config on each, as its last command shows. The calls are made by several threads, as those of the
instructions worker are.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent import futures

from benchmarks import measure
from benchmarks.place import until
from occo_celery.plugins.resourcehandler import base, machine, process_table

THREADS = 16
TIMEOUT = 60.0
CONFIG = "#cloud-config\nruncmd:\n- [touch, /cloud-init-was-here]\n"


def run(size: measure.Size) -> Iterator[measure.Figure]:
    count = size.of(30, 2)
    namespace = f"occo-bench-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        for name, user_data in (("machines_30_s", None), ("machines_30_cloudinit_s", CONFIG)):
            runs = size.repeat(lambda user_data=user_data: _started(count, namespace, user_data))  # type: ignore[misc]
            yield measure.Figure(name=name, unit="s", runs=runs, note=f"{count} machines")
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=True)


def _started(count: int, namespace: str, user_data: str | None) -> float:
    """Seconds until all are there; they are ended then."""
    with tempfile.TemporaryDirectory(prefix="occo-bench-", dir="/tmp") as folder:
        root = str(pathlib.Path(folder).resolve() / "machines")
        options = {"root": root, "namespace": namespace}
        section = {"type": "machine"}
        handler = machine.MachineHandler(machine.MachineHandler.account(section, options), section, {}, options)
        node_ids = [uuid.uuid4().hex for _ in range(count)]

        def create(node_id: str) -> base.Seen:
            creation = base.Creation(
                node_id=node_id,
                infra_id="bench",
                node_name="one",
                section=section,
                user_data=user_data,
                timeout=TIMEOUT,
            )
            return handler.create(creation)

        try:
            began = time.perf_counter()
            with futures.ThreadPoolExecutor(THREADS) as pool:
                made = list(pool.map(create, node_ids))
            assert len({one.addresses for one in made}) == count
            if user_data is not None:
                until(lambda: _done(root) == count, TIMEOUT * 5, step=0.05)
            return time.perf_counter() - began
        finally:
            for one in process_table.tagged("OCCO_NODE_ID"):
                if one.environment.get("OCCO_ROOT") == root:
                    process_table.send(one.process, signal.SIGKILL)
            until(lambda: not _there(root), TIMEOUT)


def _there(root: str) -> list[int]:
    """Processes of the machines, several of each."""
    tagged = process_table.tagged("OCCO_NODE_ID")
    return [one.process.pid for one in tagged if one.environment.get("OCCO_ROOT") == root]


def _done(root: str) -> int:
    """On how many machines cloud-init has come to its end."""
    done = set()
    for pid in _there(root):
        with contextlib.suppress(OSError):  # one of cloud-init's processes, which has ended since
            inside = pathlib.Path(f"/proc/{pid}/root")
            if (inside / "cloud-init-was-here").exists():
                done.add(inside.stat().st_dev)
    return len(done)


if __name__ == "__main__":
    raise SystemExit(measure.main(run))
