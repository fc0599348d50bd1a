"""The systemd units: systemd's own parser reads them, and what they say is started and ended as systemd would.

A systemd of a test's own is not to be had: as PID 1 of a namespace it sets up, and cleans, the machine it finds. So
the commands, environments, signals and times of the units are taken from them, and the sandboxing is not tried.
"""

from __future__ import annotations

import configparser
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from occo_celery import settings, wiring
from occo_celery.api.manager import InfrastructureManager
from occo_celery.uds import migrate
from occo_celery.uds.store import Store
from tests import brokers
from tests.acceptance.installation import EXAMPLES
from tests.contract.cases import wait_until

CONFIGS = EXAMPLES.parent / "configs"
UNITS = sorted((CONFIGS / "systemd").glob("*.service"))
ONE = {"infra_name": "one", "nodes": [{"name": "sleeper", "type": "sleeper"}]}
DEFINITION = "'node_def:sleeper':\n  - resource: {type: process, command: [sleep, infinity]}\n"


def read(unit: pathlib.Path) -> configparser.SectionProxy:
    """The [Service] section; keys as they are written."""
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return parser["Service"]


class Host:
    """What the units expect of a machine, in a folder: /etc/occopus, /var/lib/occopus, a broker, a database."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.broker = brokers.Valkey(root / "valkey.sock")
        for folder in ("etc/occopus", "var/lib/occopus"):
            (root / folder).mkdir(parents=True)
        production = (CONFIGS / "production.yaml").read_text()
        self.path("/etc/occopus/occopus_config.yaml").write_text(
            production.replace(" /var/lib/", f" {root}/var/lib/")
        )
        self.path("/etc/occopus/environment").write_text(
            f"# as the README says\nOCCO_UDS_URL=sqlite:///{root}/uds.sqlite\nOCCO_BROKER_URL={self.broker.url}\n"
        )
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def path(self, absolute: str) -> pathlib.Path:
        return self.root / absolute.lstrip("/")

    def environment(self, service: configparser.SectionProxy) -> dict[str, str]:
        """What systemd would give: nothing of ours, what the unit sets, and what its file does."""
        lines = self.path(service["EnvironmentFile"]).read_text().splitlines()
        given = [*shlex.split(service["Environment"]), *(line for line in lines if not line.startswith("#"))]
        pairs = (one.partition("=") for one in given)
        told = {name: re.sub(r"^/etc/", f"{self.root}/etc/", value) for name, _, value in pairs}
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8", **told}

    def start(self, unit: pathlib.Path) -> None:
        service = read(unit)
        command = shlex.split(service["ExecStart"])
        assert command[0] == "/opt/occo_celery/bin/occo"
        command[0] = str(pathlib.Path(sys.executable).with_name("occo"))
        with self.log(unit).open("wb") as log:
            self.programs[unit.stem] = subprocess.Popen(
                command,
                env=self.environment(service),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, unit: pathlib.Path) -> int:
        """KillMode=mixed: the main process alone is asked; TimeoutExpired is where systemd would kill."""
        service = read(unit)
        assert service["KillMode"] == "mixed"
        self.programs[unit.stem].send_signal(signal.Signals[service["KillSignal"]])
        return self.programs[unit.stem].wait(timeout=int(service["TimeoutStopSec"]))

    def log(self, unit: pathlib.Path) -> pathlib.Path:
        return self.root / f"{unit.stem}.log"

    def close(self) -> None:
        for program in self.programs.values():
            if program.poll() is None:
                for child in psutil.Process(program.pid).children(recursive=True):
                    child.kill()
                program.kill()
                program.wait()
        self.broker.kill()


@pytest.fixture
def host(short_path: pathlib.Path) -> Iterator[Host]:
    made = Host(short_path)
    yield made
    made.close()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_reads_the_unit(unit: pathlib.Path, short_path: pathlib.Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    copy = short_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/occo_celery/bin/occo", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_units_run_an_installation(host: Host) -> None:
    names = [unit.stem for unit in UNITS]
    assert names == ["occo-beat", "occo-instructions", "occo-passes"]
    environments = [host.environment(read(unit)) for unit in UNITS]
    assert environments[0] == environments[1] == environments[2]
    config = settings.load(environments[0]["OCCOPUS_CONFIG_PATH"], environ=environments[0])
    assert {read(unit)["StateDirectory"] for unit in UNITS} == {config.home.name}
    store = Store(config.uds_url)
    migrate.upgrade(store)
    store.close()
    system = wiring.System(config)
    try:
        host.broker.start()
        for unit in UNITS:
            host.start(unit)
        _life(InfrastructureManager("parallel", system=system), host)
    finally:
        system.store.close()
    for unit in UNITS:
        children = psutil.Process(host.programs[unit.stem].pid).children(recursive=True)
        assert host.stop(unit) == 0, host.log(unit).read_text()
        assert not any(child.is_running() for child in children)
        assert "Traceback" not in host.log(unit).read_text()


def _life(manager: InfrastructureManager, host: Host) -> None:
    """One instance made, and ended, through the programs that run."""

    def going_on(condition: bool) -> bool:
        ended = [name for name, program in host.programs.items() if program.poll() is not None]
        assert not ended, (ended, [host.log(unit).read_text() for unit in UNITS if unit.stem in ended])
        return condition

    definitions = host.root / "definitions.yaml"
    definitions.write_text(DEFINITION)
    manager.import_definitions(definitions)
    infra_id = manager.add(ONE)

    def states() -> list[str]:
        return [one["state"] for one in manager.report(infra_id)["sleeper"]["instances"].values()]

    wait_until(lambda: going_on(states() == ["ready"]), 60, "one ready instance")
    manager.detach(infra_id)
    torn = manager.tear_down(infra_id)
    wait_until(lambda: going_on(torn.state == "torn_down"), 60, "its end")
