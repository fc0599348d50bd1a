"""A whole life of the example `shop` on this machine, in about a minute; run by `make demo`.

Everything is done as a person would: with the command `occo`, on a system that `occo up` runs in a folder of its own,
which is removed at the end. Exit code 0, or it says what failed.
"""

from __future__ import annotations

import pathlib
import sys
import time
import urllib.request

import system
from system import occo, say

SHOP = pathlib.Path(__file__).parent / "shop"


def visit(infra_id: str) -> str:
    """What the shop's gateway says to a visitor."""
    (gateway,) = system.instances(infra_id)["gateway"]
    with urllib.request.urlopen(f"http://{gateway['resource_address']}:8000/visit", timeout=10) as answer:
        return str(answer.read().decode().strip())


def kill_an_application(home: pathlib.Path) -> int:
    victim = next(one for one in system.nodes(home) if one.environ()["OCCO_NODE_NAME"] == "app")
    print(f"$ kill -9 {victim.pid}   # an instance of app", flush=True)
    victim.kill()
    system.wait_until(
        lambda: victim.pid not in [one.pid for one in system.nodes(home)], "the end of the killed process"
    )
    return victim.pid


def life(home: pathlib.Path) -> None:
    say("Node definitions and the infrastructure")
    occo("import", str(SHOP / "node_definitions.yaml"))
    infra_id = occo("build", str(SHOP / "shop.yaml"), "--parallel", "--interval", "2", "--timeout", "120").split()[-1]
    occo("report", infra_id)
    say("The instances use each other: gateway, application, store")
    for _ in range(2):
        print(visit(infra_id))

    say("An instance dies and is replaced")
    kill_an_application(home)
    took = system.wait_until(lambda: len(system.nodes(home)) == 4 and system.all_ready(infra_id, 4), "healing")
    print(f"healed after {took:.1f} s")
    occo("report", infra_id)
    print(visit(infra_id))

    say("Detached: nothing is maintained any more")
    occo("detach", infra_id)
    kill_an_application(home)
    time.sleep(6)  # three intervals, in which nothing must happen
    if len(system.nodes(home)) != 3:
        raise system.Failed(
            f"{len(system.nodes(home))} processes run, 3 were left when nothing was maintained any more"
        )
    print("after three intervals the killed instance has not been replaced")

    say("Torn down: nothing is left")
    occo("destroy", infra_id, "--timeout", "120")
    if system.nodes(home):
        raise system.Failed(f"{len(system.nodes(home))} processes are left after the teardown")
    print("no process is left")


def main() -> int:
    try:
        with system.running() as home:
            life(home)
    except system.Failed as problem:
        print(f"\nThe demo failed: {problem}", file=sys.stderr)
        return 1
    say("All of it worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
