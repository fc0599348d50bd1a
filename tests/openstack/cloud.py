"""A real OpenStack of this test process's own: Keystone, Placement, Glance, Neutron, Cinder and Nova on loopback.

Nova's hypervisor is its fake driver, so a server is everything but a machine; ports and volumes are records only. The
services take their usual ports on 127.0.0.1: a process that starts a cloud has to be in a network namespace of its
own, as `make test-openstack` makes one. By hand, until it is interrupted:

    unshare --net sh -c 'ip link set lo up; exec .venv/bin/python -m tests.openstack.cloud --keep'
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import os
import pathlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import openstack
from keystoneauth1 import exceptions as transport_errors
from openstack import exceptions

from tests.openstack import configs, seeds
from tests.openstack.databases import Databases
from tests.openstack.programs import Program, errors_in, listens

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-openstack"
INSIDE = pathlib.Path(__file__).parent / "inside"
RABBITMQ = pathlib.Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
#: The WSGI applications, with their ports.
APPLICATIONS = {
    "keystone": ("keystone.wsgi.api", 5000),
    "placement-api": ("placement.wsgi.api", 8778),
    "glance-api": ("glance.wsgi.api", 9292),
    "neutron-api": ("neutron.wsgi.api", 9696),
    "nova-api": ("nova.wsgi.osapi_compute", 8774),
    "cinder-api": ("cinder.wsgi.api", 8776),
}
DAEMONS = ("nova-conductor", "nova-scheduler", "nova-compute", "cinder-scheduler", "cinder-volume")
#: Drivers of ours, found by their entry points.
ENTRY_POINTS = "[neutron.ml2.mechanism_drivers]\noccobind = occobind:Driver\n"


class Cloud:
    """Its services, and what its administrator has made for the tests: see seeds.py."""

    auth_url = configs.AUTH_URL
    region = configs.REGION
    admin = seeds.Account("admin", configs.PASSWORD, "admin")
    user = seeds.Account("occo", configs.PASSWORD, "occo")

    def __init__(self) -> None:
        programs = ("mariadbd", "mariadb-install-db", "epmd", str(RABBITMQ))
        missing = [program for program in programs if shutil.which(program) is None]
        if missing or not ENVIRONMENT.is_dir() or os.geteuid() != 0:
            raise RuntimeError(
                f"OpenStack cannot be tested: missing are {', '.join(missing) or 'no programs'}, uid {os.geteuid()}, "
                f"{ENVIRONMENT.name} is {'' if ENVIRONMENT.is_dir() else 'not '}there; use make test-openstack"
            )
        taken = [port for _, port in APPLICATIONS.values() if listens(port)]
        if taken:
            raise RuntimeError(f"ports {taken} are taken; a cloud needs a network namespace of its own")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="occo-os-", dir="/tmp"))
        self._programs: dict[str, Program] = {}
        self._seeded = seeds.Seeded()
        for name in ("log", "tmp", "nova", "neutron", "cinder", "glance", "rabbitmq"):
            (self.folder / name).mkdir()
        configs.write(self.folder, ENVIRONMENT)
        self._write_drivers()

    def start(self) -> None:
        try:
            self._start_services()
            self._seed()
        except (exceptions.SDKException, transport_errors.ClientException, Warning) as error:
            raise RuntimeError(f"OpenStack did not start: {error}\n{self.errors()}") from error

    def errors(self) -> str:
        """What the services' logs say of errors lately: the logs go with the cloud."""
        return "\n".join(found for log in sorted((self.folder / "log").iterdir()) if (found := errors_in(log)))

    def _start_services(self) -> None:
        with futures.ThreadPoolExecutor(1) as pool:
            broker = pool.submit(self._start_broker)
            databases = Databases(self.folder, ENVIRONMENT, self._variables())
            try:
                databases.start()
            finally:
                if databases.program is not None:
                    self._programs["mariadb"] = databases.program
            for name in APPLICATIONS:
                self._start_application(name)
            broker.result()

    def _seed(self) -> None:
        self._wait_for_application("keystone")
        with self.connection() as admin:
            seeds.make_accounts(admin, self.user)
        for name in DAEMONS:  # these log in when they start
            self._start_daemon(name)
        for name in APPLICATIONS:
            self._wait_for_application(name)
        with self.connection() as admin:  # another: the catalogue comes with the login
            self._seeded = seeds.make_resources(admin, self.user)
            self._programs["nova-compute"].wait_for(lambda: seeds.has_hosts(admin))
        with self.user_connection() as user:
            self._programs["nova-scheduler"].wait_for(lambda: seeds.can_boot(user, self._seeded))

    def connection(self) -> Any:
        """As administrator. To be closed: a connection is a context manager."""
        return self._connect(self.admin)

    def user_connection(self, **options: Any) -> Any:
        """As the ordinary user of the project occo."""
        return self._connect(self.user, **options)

    @property
    def network_id(self) -> str:
        return self._seeded.network_id

    @property
    def public_network_id(self) -> str:
        return self._seeded.public_network_id

    @property
    def image_id(self) -> str:
        return self._seeded.image_id

    @property
    def project_id(self) -> str:
        return self._seeded.project_id

    def set_quota(self, **limits: int) -> None:
        """Of the project occo, for Nova: instances, cores, ram."""
        with self.connection() as admin:
            admin.compute.update_quota_set(self.project_id, **limits)

    def reset_quota(self) -> None:
        """Nothing is limited again."""
        with self.connection() as admin:
            admin.compute.revert_quota_set(self.project_id)

    def remove_all(self) -> None:
        """What tests have made as the ordinary user."""
        with self.user_connection() as user:
            seeds.remove_all(user, self._seeded)

    def signal(self, service: str, number: int) -> None:
        """To one service, `nova-api` for example. After SIGSTOP it surely does not answer any more."""
        self._programs[service].signal(number)

    @contextlib.contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """One service takes connections and answers nothing for a while."""
        self.signal(service, signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(service, signal.SIGCONT)

    def remove(self) -> None:
        for program in reversed(list(self._programs.values())):
            program.kill()
        self._programs.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _connect(self, account: seeds.Account, **options: Any) -> Any:
        return openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            region_name=self.region,
            auth={"auth_url": self.auth_url, **account.login()},
            **options,
        )

    def _variables(self, **more: object) -> dict[str, str]:
        """Of every process; nothing else of the environment: a proxy in it would be asked for 127.0.0.1."""
        path = f"{ENVIRONMENT / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            "PATH": path,
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self.folder / "drivers"),
            **{name: str(value) for name, value in more.items()},
        }

    def _write_drivers(self) -> None:
        """As if they had been installed, but where nothing else lies that could be imported by mistake."""
        metadata = self.folder / "drivers" / "occo_drivers-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: occo-drivers\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
        for name in ("occobind.py", "occovolume.py"):
            shutil.copy(INSIDE / name, metadata.parent)

    def _start(self, name: str, command: list[str], **variables: object) -> Program:
        program = Program(name, self.folder / "log" / name, command, self._variables(**variables))
        self._programs[name] = program
        return program

    def _start_broker(self) -> None:
        """RabbitMQ, and before it the daemon that Erlang would start otherwise and leave behind."""
        self._start("epmd", ["epmd", "-address", "127.0.0.1"]).wait_for_port(4369)
        folder = self.folder / "rabbitmq"
        broker = self._start(
            "rabbitmq",
            [str(RABBITMQ)],
            HOME=folder,
            ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_NODENAME="occo@localhost",
            RABBITMQ_MNESIA_BASE=folder / "data",
            RABBITMQ_LOG_BASE=folder / "log",
            RABBITMQ_ENABLED_PLUGINS_FILE=folder / "plugins",
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=5672,
            # its threads would turn in circles for a while before they sleep
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none",
        )
        broker.wait_for_port(5672)

    def _start_application(self, name: str) -> None:
        """Cinder is told of its file in the command, the others in variables; Nova wants its paste file first."""
        module, port = APPLICATIONS[name]
        service = name.removesuffix("-api")
        config = self.folder / "etc" / f"{service}.conf"
        files = f"{ENVIRONMENT / 'etc' / 'nova' / 'api-paste.ini'};{config}" if service == "nova" else config
        command = [str(ENVIRONMENT / "bin" / "python"), str(INSIDE / "serve.py"), module, str(port)]
        self._start(
            name,
            [*command, "--config-file", str(config)] if service == "cinder" else command,
            **{f"OS_{service.upper()}_CONFIG_DIR": config.parent, f"OS_{service.upper()}_CONFIG_FILES": files},
        )

    def _wait_for_application(self, name: str) -> None:
        self._programs[name].wait_for_port(APPLICATIONS[name][1])

    def _start_daemon(self, name: str) -> None:
        config = self.folder / "etc" / f"{name.partition('-')[0]}.conf"
        self._start(name, [str(ENVIRONMENT / "bin" / name), "--config-file", str(config)])


def cloud() -> Cloud:
    """The cloud of this process, started when first asked for; if that failed, it is not tried again."""
    made = _started()
    if isinstance(made, RuntimeError):
        raise made
    return made


@functools.cache
def _started() -> Cloud | RuntimeError:
    made = Cloud()
    owner = os.getpid()
    atexit.register(lambda: made.remove() if os.getpid() == owner else None)  # not by forked children
    try:
        made.start()
    except RuntimeError as error:
        made.remove()
        return error
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Starts a cloud, says how to use it, and ends it when interrupted.")
    parser.add_argument("--keep", action="store_true", help="go on until SIGINT or SIGTERM")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        made = cloud()
        print(f"up after {time.monotonic() - began:.1f} s, in {made.folder}", flush=True)
        print(f"auth_url {made.auth_url}, region {made.region}, {made.user}, {made.admin}", flush=True)
        print(
            f"network {made.network_id}, public network {made.public_network_id}, image {made.image_id}", flush=True
        )
        if keep:
            signal.pause()


if __name__ == "__main__":
    main()
