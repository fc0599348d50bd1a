"""The check of databases, asked of a real MariaDB."""

from __future__ import annotations

import asyncio
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from occo_celery.model import status
from occo_celery.plugins.healthcheck import base, mysqldbs, run
from tests import mariadb

pytestmark = pytest.mark.system

PASSWORD = "hunter2-monitor"


@pytest.fixture(scope="module")
def server() -> Iterator[mariadb.MariaDB]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="occo-mariadb-", dir="/tmp"))
    one = mariadb.MariaDB(folder)
    try:
        one.start()
        one.execute(
            "CREATE DATABASE shop",
            "CREATE DATABASE vault",
            f"CREATE USER monitor@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            "GRANT SELECT ON shop.* TO monitor@'127.0.0.1'",
        )
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)


def ask(server: mariadb.MariaDB, limit: float = 5.0, **changed: Any) -> str | None:
    value = [{"name": "shop", "user": "monitor", "pass": {"secret": "monitor"}, "port": server.port, **changed}]
    names = {"secret": {"monitor": PASSWORD, "wrong": "hunter3"}.__getitem__}
    target = base.Target(node_id="n", addresses=("127.0.0.1",), names=names)
    reason = asyncio.run(mysqldbs.MysqldbsCheck().check(value, target, limit))
    assert "hunter" not in str(reason)
    return reason and reason.text()


def test_a_database_that_answers_is_well(server: mariadb.MariaDB) -> None:
    assert ask(server) is None
    assert ask(server, **{"pass": "{{ secret('monitor') }}"}) is None


def test_why_one_cannot_get_in(server: mariadb.MariaDB) -> None:
    assert ask(server, **{"pass": {"secret": "wrong"}}) == "waiting_for: mysql shop, access denied"
    assert ask(server, user="nobody") == "waiting_for: mysql shop, access denied"
    assert ask(server, name="vault") == "waiting_for: mysql vault, access denied"


def test_checks_do_not_get_their_host_blocked(server: mariadb.MariaDB) -> None:
    """The server blocks a host that breaks off too many handshakes."""
    server.execute("FLUSH HOSTS", "SET GLOBAL max_connect_errors = 5")
    for _ in range(10):
        ask(server, limit=0.05)
    assert ask(server) is None


def test_a_frozen_server_is_late_and_many_end_within_the_deadline(server: mariadb.MariaDB) -> None:
    value = [{"name": "shop", "user": "monitor", "pass": PASSWORD, "port": server.port}]
    server.freeze()
    try:
        assert ask(server, limit=0.5) == "waiting_for: mysql shop, timed out"
        jobs = [
            run.Job(target=base.Target(node_id=f"n{n}", addresses=("127.0.0.1",)), section={"mysqldbs": value})
            for n in range(50)
        ]
        found = run.examine_all(jobs, {"mysqldbs": mysqldbs.MysqldbsCheck()}, limit=0.5, deadline=5.0)
    finally:
        server.thaw()
    assert {one.status for one in found.values() if one is not None} == {status.NodeStatus.TEMP_FAILED}
    assert len(found) == 50
    assert ask(server) is None
