"""An installation of real processes for a test: broker, workers, beats, each started, killed and frozen by name."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import psutil
import yaml

from occo_celery import settings, wiring
from occo_celery.api.manager import InfrastructureManager
from occo_celery.uds import migrate
from occo_celery.uds.store import Store
from tests import brokers
from tests.contract.cases import wait_until

OCCO = (sys.executable, "-m", "occo_celery.cli.main")
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"

#: Where instances get their addresses: installations that tests run at the same time are strangers to each other.
NETWORK = f"127.{80 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}.0.0/16"

#: What each program says when it is at work.
COMMANDS = {
    "passes": ("worker", "passes"),
    "instructions": ("worker", "instructions"),
    "beat": ("beat",),
}


class Installation:
    """home: a folder with a short path. url: of an empty database. before: what commands of programs begin with.
    call_timeout: seconds that a cloud call may take."""

    def __init__(
        self,
        home: pathlib.Path,
        url: str,
        *,
        interval: float = 1.0,
        before: Sequence[str] = (),
        call_timeout: float = 5.0,
    ) -> None:
        self.home, self.before = home, before
        self.broker = brokers.Valkey(home / "valkey.sock")
        self.config = home / "config.yaml"
        self.config.write_text(_configuration(home, url, self.broker.url, interval, call_timeout))
        self.environment = {
            **os.environ,
            "OCCOPUS_CONFIG_PATH": str(self.config),
            "OCCO_HOME": str(home),
            # What comes up as a warning in a worker is a matter for the tests of the code, not for these.
            "PYTHONWARNINGS": "ignore",
        }
        self.settings = settings.load(self.config)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        store = Store(url)
        migrate.upgrade(store)
        store.close()
        self.system = wiring.System(self.settings)
        self.manager = InfrastructureManager("parallel", system=self.system)

    # --- processes -----------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start programs: ``passes``, ``instructions``, ``beat``; several of a kind are ``beat:2`` and so on."""
        for name in names:
            with (self.home / f"{name.replace(':', '-')}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [*self.before, *OCCO, *COMMANDS[name.partition(":")[0]]],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def start_all(self) -> None:
        self.broker.start()
        self.start("passes", "instructions", "beat")

    def kill(self, *names: str) -> None:
        """kill -9 a program with all its children."""
        for name in names:
            process = self.processes.pop(name)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for one in family:
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    pass
            process.wait()

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask a program to end, and wait for it; returns its exit code."""
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(timeout=60)

    def alive(self, name: str) -> bool:
        return self.processes[name].poll() is None

    def log(self, name: str) -> str:
        return (self.home / f"{name.replace(':', '-')}.log").read_text(errors="replace")

    def close(self) -> None:
        self.kill(*self.processes)
        self.broker.kill()
        self.system.store.close()
        for one in self.nodes():
            one.kill()
            wait_until(lambda one=one: not one.is_running() or one.status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]

    # --- looking -------------------------------------------------------------------------------------------------

    def occo(self, *arguments: str, code: int = 0) -> str:
        """Run the command line; its standard output, or standard error where it is to fail with ``code``."""
        done = subprocess.run(
            [*OCCO, *arguments], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def nodes(self, infra_id: str | None = None) -> list[psutil.Process]:
        """The processes of instances, as the process table knows them by their environment."""
        found = []
        for one in psutil.process_iter():
            try:
                told = one.environ()
                mine = told.get("OCCO_ROOT", "").startswith(str(self.home)) and "OCCO_NODE_ID" in told
                if mine and infra_id in (None, told["OCCO_INFRA_ID"]) and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def states(self, infra_id: str) -> list[str]:
        report = self.manager.report(infra_id)
        return sorted(one["state"] for node in report.values() for one in node["instances"].values())

    def wait_ready(self, infra_id: str, count: int, timeout: float = 60.0) -> None:
        wait_until(
            lambda: self.states(infra_id) == ["ready"] * count and len(self.nodes(infra_id)) == count,
            timeout,
            f"{count} ready instances",
        )


def _configuration(home: pathlib.Path, url: str, broker: str, interval: float, call_timeout: float) -> str:
    head = f"home: {home}\nlogging: {{version: 1, disable_existing_loggers: false}}\n"
    rest: dict[str, Any] = {
        "celery": {"broker_url": broker},
        # Steady infrastructures would have ever fewer passes, which tests wait for.
        "enactor": {"interval": interval, "longest_interval": interval, "pass_lease": 10.0},
        "instructions": {"lease": 6 * call_timeout, "call_timeout": call_timeout, "resend": 3.0},
    }
    components = (
        f"components:\n  resourcehandler: !ResourceHandler {{process: {{network: {NETWORK}}}}}\n"
        "  configmanager: !ConfigManager {}\n"
        f"  uds: !UDS {{url: '{url}'}}\n"
    )
    return head + components + yaml.safe_dump(rest)
