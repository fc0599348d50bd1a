"""`occo accounts`: what is shown of budgets, silence, healing that waits, and orphans."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from occo_celery.cli import main
from occo_celery.model import instance
from occo_celery.uds import accounts, nodes, operations, tables
from occo_celery.uds.store import Store

CONFIG = """\
logging: {version: 1}
components:
  uds: !UDS {}
  resourcehandler: !ResourceHandler {}
  configmanager: !ConfigManager {}
budgets:
  - {accounts: 'ec2:*', concurrency: 20, rate: 0.01, burst: 5}
  - {accounts: 'docker:*', concurrency: 8}
"""


@pytest.fixture
def store(short_path: pathlib.Path, migrated: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The database of an installation of this test's own."""
    home = short_path / "home"
    home.mkdir()
    (short_path / "config.yaml").write_text(CONFIG)
    monkeypatch.setenv("HOME", str(short_path))
    monkeypatch.setenv("OCCO_HOME", str(home))
    monkeypatch.setenv("OCCOPUS_CONFIG_PATH", str(short_path / "config.yaml"))
    monkeypatch.setenv("OCCOPUS_AUTH_DATA_PATH", "")
    monkeypatch.chdir(short_path)
    shutil.copy(migrated, home / "uds.sqlite")
    store = Store(f"sqlite:///{home / 'uds.sqlite'}")
    yield store
    store.close()


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """The table's cells by their account and heading; columns begin where their headings do."""
    assert main.main(["accounts"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    names = head.split()
    starts = [head.index(name) for name in names]
    ends = [*starts[1:], None]
    table = [
        {name: line[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)}
        for line in lines
    ]
    return {row.pop("ACCOUNT"): row for row in table}


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main.main(["--json", "accounts"]) == 0
    return {row.pop("account"): row for row in json.loads(capsys.readouterr().out)}


def test_nothing_was_used_yet(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["accounts"]) == 0
    assert capsys.readouterr().out == "no cloud account has been used yet\n"
    assert told(capsys) == {}


def test_all_is_well(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.write() as connection:
        accounts.use(connection, "process:here", {"resource": {}}, sweep_due=store.now() + 60.0)
    assert shown(capsys) == {
        "process:here": {
            "INSTANCES": "0",
            "AT_WORK": "0",
            "BUDGET": "-",
            "ANSWERS": "yes",
            "HEALING": "yes",
            "ORPHANS": "0",
        }
    }
    row = told(capsys)["process:here"]
    assert (row["budget"], row["silent_until"], row["healing_waits_until"]) == (None, None, None)
    assert row["swept_next"] > store.now()


def test_a_silent_account(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    now = store.now()
    with store.write() as connection:
        accounts.missed(connection, "docker:shaky", reason="no answer within 5 s", now=now)
        for _ in range(accounts.MISSES):
            accounts.missed(connection, "docker:silent", reason="no answer within 5 s", now=now)
    cells = shown(capsys)
    assert cells["docker:shaky"]["ANSWERS"] == "yes", "one miss is no silence"
    assert cells["docker:silent"]["ANSWERS"].startswith("no, asked again 20")
    assert cells["docker:silent"]["ANSWERS"].endswith(": no answer within 5 s")
    row = told(capsys)["docker:silent"]
    assert (row["silent_until"], row["reason"]) == (now + accounts.SILENCE, "no answer within 5 s")


def test_healing_that_waits(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    now = store.now()
    with store.write() as connection:
        accounts.open_breaker(connection, "docker:troubled", now=now)
        accounts.open_breaker(connection, "docker:was", now=now - 3600.0)
    cells = shown(capsys)
    assert cells["docker:troubled"]["HEALING"].startswith("waits until 20")
    assert cells["docker:was"]["HEALING"] == "yes"
    rows = told(capsys)
    assert rows["docker:troubled"]["healing_waits_until"] > now
    assert rows["docker:was"]["healing_waits_until"] is None


def test_orphans(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    now = store.now()
    with store.write() as connection:
        accounts.use(connection, "docker:x", {"resource": {}}, sweep_due=now)
        accounts.swept(connection, "docker:x", suspects={"stray:i-1:n": now, "stray:i-2:n": now}, due=now + 9.0)
    assert shown(capsys)["docker:x"]["ORPHANS"] == "2"
    row = told(capsys)["docker:x"]
    assert (row["orphans"], row["swept_next"]) == (2, now + 9.0)


def test_budgets_and_what_is_spent_of_them(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    now = store.now()
    with store.write() as connection:
        for name in ("ec2:a", "docker:b"):
            accounts.ensure(connection, name)
        accounts.spend(connection, "ec2:a", until=now + 500.0)
        instance_and_operations(connection, "ec2:a", now)
    cells = shown(capsys)
    assert cells["ec2:a"]["BUDGET"] == "20 at a time; 0.01/s, 5 at once"
    assert cells["docker:b"]["BUDGET"] == "8 at a time"
    assert (cells["ec2:a"]["INSTANCES"], cells["ec2:a"]["AT_WORK"]) == ("1", "2")
    row = told(capsys)["ec2:a"]
    assert row["budget"] == {"accounts": "ec2:*", "concurrency": 20, "rate": 0.01, "burst": 5}
    assert 0 < row["spent"] <= 500.0
    assert (row["instances"], row["at_work"]) == (1, 2)


def instance_and_operations(connection: Any, account: str, now: float) -> None:
    """One instance whose drop somebody is at, as somebody is at a stray of the same account."""
    infra = {"infra_id": "x", "name": "x", "phase": "submitted", "generation": 1, "targets": {}, "created_at": now}
    connection.execute(tables.infrastructures.insert(), infra)
    nodes.insert(connection, "x", {"n": "a"}, now=now)
    connection.execute(tables.nodes.update().values(account=account))
    common = {"infra_id": "x", "node_name": "a", "epoch": 0, "now": now, "resend": 10.0}
    drop = operations.intent(target="n", kind=instance.OperationKind.DROP, **common)
    stray = operations.intent(
        target="stray:i-1:m", kind=instance.OperationKind.STRAY, detail={"account": account}, **common
    )
    operations.insert(connection, [drop, stray])
    operations.claim(connection, ["n", "stray:i-1:m"], now=now, until=now + 3600.0, token="t")
