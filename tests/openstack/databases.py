"""The MariaDB server that OpenStack's services share, and what has to be in it before the first of them starts.

Making the tables takes a minute of both cores, so they are kept, as the server left them on disk, beside the packages
that made them. Neither users nor servers are in there yet.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from concurrent import futures

import pymysql

from tests.openstack import configs
from tests.openstack.programs import Program, run

PORT = 3306
#: Written to disk whenever it likes: nothing of this outlives the tests. Few files: there are 600 tables.
QUICK = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-file-per-table=0",
    "--innodb-log-file-size=32M",
    "--skip-innodb-doublewrite",
    "--skip-name-resolve",
    "--max-connections=500",
)
KEPT = ("mariadb", "keystone")


class Databases:
    """folder: the cloud's, with its configuration. environment: the folder of OpenStack's virtual environment."""

    def __init__(self, folder: pathlib.Path, environment: pathlib.Path, variables: Mapping[str, str]) -> None:
        self._folder, self._environment, self._variables = folder, environment, variables
        self.program: Program | None = None

    def start(self) -> Program:
        """With every table in it."""
        kept = self._environment / "prepared" / self._digest()
        if kept.is_dir():
            for name in KEPT:
                shutil.copytree(kept / name, self._folder / name)
            return self._serve()
        self._make()
        self._fill(self._serve())
        self._keep(kept)
        return self._serve()

    def _serve(self) -> Program:
        data = self._folder / "mariadb"
        places = [f"--datadir={data}", f"--socket={self._folder / 'mariadb.sock'}", f"--pid-file={data / 'pid'}"]
        command = ["mariadbd", "--no-defaults", "--user=root", *places, "--bind-address=127.0.0.1", f"--port={PORT}"]
        self.program = Program("mariadb", self._log("mariadb"), [*command, *QUICK], self._variables)
        self.program.wait_for_port(PORT)
        return self.program

    def _make(self) -> None:
        options = [
            f"--datadir={self._folder / 'mariadb'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        command = ["mariadb-install-db", "--no-defaults", "--user=root", *options, *QUICK[:4]]
        run(self._log("mariadb-install-db"), command, self._variables)

    def _fill(self, server: Program) -> None:
        with pymysql.connect(host="127.0.0.1", port=PORT, user="root") as connection, connection.cursor() as cursor:
            for name in configs.DATABASES:
                cursor.execute(f"CREATE DATABASE {name}")
        # the longest first
        jobs = (self._neutron, self._nova, self._cinder, self._keystone, self._glance, self._placement)
        with futures.ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()

    def _neutron(self) -> None:
        self._manage("neutron", "neutron-db-manage", ["upgrade", "heads"])

    def _cinder(self) -> None:
        self._manage("cinder", "cinder-manage", ["db", "sync"])

    def _glance(self) -> None:
        self._manage("glance-api", "glance-manage", ["db_sync"])

    def _placement(self) -> None:
        self._manage("placement", "placement-manage", ["db", "sync"])

    def _nova(self) -> None:
        cell0 = ["--database_connection", configs.database("nova_cell0")]
        self._manage("nova", "nova-manage", ["api_db", "sync"])
        self._manage("nova", "nova-manage", ["cell_v2", "map_cell0", *cell0])
        self._manage("nova", "nova-manage", ["cell_v2", "create_cell", "--name", "cell1"])
        self._manage("nova", "nova-manage", ["db", "sync"])

    def _keystone(self) -> None:
        owner = ["--keystone-user", "root", "--keystone-group", "root"]
        place = ["--bootstrap-public-url", configs.AUTH_URL, "--bootstrap-region-id", configs.REGION]
        for key_repository in ("fernet", "credential"):
            (self._folder / "keystone" / key_repository).mkdir(parents=True)
            self._manage("keystone", "keystone-manage", [f"{key_repository}_setup", *owner])
        self._manage("keystone", "keystone-manage", ["db_sync"])
        self._manage("keystone", "keystone-manage", ["bootstrap", "--bootstrap-password", configs.PASSWORD, *place])

    def _manage(self, service: str, program: str, arguments: Sequence[str]) -> None:
        config = self._folder / "etc" / f"{service}.conf"
        command = [str(self._environment / "bin" / program), "--config-file", str(config), *arguments]
        run(self._log(f"{service}-manage"), command, self._variables)

    def _keep(self, kept: pathlib.Path) -> None:
        assert self.program is not None
        self.program.end()
        made = kept.with_name(f"{kept.name}-{uuid.uuid4().hex[:8]}")
        made.mkdir(parents=True)
        for name in KEPT:
            shutil.copytree(self._folder / name, made / name)
        try:
            os.rename(made, kept)
        except OSError:  # another process was quicker
            shutil.rmtree(made)

    def _digest(self) -> str:
        """Of all that the tables depend on."""
        packages = sorted(path.name for path in self._environment.glob("lib/*/site-packages/*.dist-info"))
        server = subprocess.run(["mariadbd", "--version"], capture_output=True, text=True, check=True).stdout
        names = [*configs.DATABASES, configs.PASSWORD, configs.REGION, configs.AUTH_URL]
        source = pathlib.Path(__file__).read_text()
        return hashlib.sha256("\n".join([*packages, server, *names, source]).encode()).hexdigest()[:16]

    def _log(self, name: str) -> pathlib.Path:
        return self._folder / "log" / name
