"""Runs one of the examples on one kind of cloud, in a system of its own: `python examples/run.py workers docker`.

Examples: shop (a gateway before two applications with a store; on machines that is a MariaDB), workers (a master with
workers that scale), pipeline (three stages). Clouds: process (this machine, nothing else is needed), docker (at
unix:///var/run/docker.sock), machine (small ones on this host, with cloud-init; as root). Exit code 0, or it says
what failed.
"""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import sys
import urllib.request
from dataclasses import dataclass

import system
from system import occo, say

HERE = pathlib.Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """description: its file. definitions and path: by cloud, the file of node types and what to ask of the node that
    is visited. shows: what the answer has when everything works. scaled: a node, a count, and what is shown then."""

    description: str
    definitions: dict[str, str]
    visited: str
    path: dict[str, str]
    shows: str
    scaled: tuple[str, int, str] | None = None


EXAMPLES = {
    "shop": Example(
        description="shop/shop.yaml",
        definitions={
            "process": "shop/node_definitions.yaml",
            "docker": "shop/docker.yaml",
            "machine": "shop/machine.yaml",
        },
        visited="gateway",
        path={"process": "/visit", "machine": "/visit", "docker": "/cgi-bin/visit"},
        shows=r"visit \d+, served by \S+",
        scaled=("app", 3, r"visit \d+, served by \S+"),
    ),
    "workers": Example(
        description="workers/workers.yaml",
        definitions={
            "process": "workers/process.yaml",
            "docker": "workers/docker.yaml",
            "machine": "workers/machine.yaml",
        },
        visited="master",
        path={"process": "/", "machine": "/", "docker": "/cgi-bin/count"},
        shows=r"by 2 workers",
        scaled=("worker", 4, r"by 4 workers"),
    ),
    "pipeline": Example(
        description="pipeline/pipeline.yaml",
        definitions={
            "process": "pipeline/process.yaml",
            "docker": "pipeline/docker.yaml",
            "machine": "pipeline/machine.yaml",
        },
        visited="count",
        path={"process": "/", "machine": "/", "docker": "/cgi-bin/text"},
        shows=r"THE QUICK BROWN FOX: 4 words",
    ),
}


def life(example: Example, cloud: str) -> None:
    say("Node definitions and the infrastructure")
    occo("import", str(HERE / example.definitions[cloud]))
    description = str(HERE / example.description)
    infra_id = occo("build", description, "--parallel", "--interval", "2", "--timeout", "300").split()[-1]
    occo("report", infra_id)
    say("It works")
    see(infra_id, example, cloud, example.shows)
    if example.scaled is not None:
        node, count, shows = example.scaled
        say(f"{count} instances of {node}")
        occo("scale", infra_id, node, "--to", str(count))
        ready = [*(len(some) for name, some in system.instances(infra_id).items() if name != node), count]
        took = system.wait_until(lambda: system.all_ready(infra_id, sum(ready)), "scaling", 120)
        print(f"scaled after {took:.1f} s")
        see(infra_id, example, cloud, shows)
    say("Torn down: nothing is left")
    occo("destroy", infra_id, "--detach", "--timeout", "120")
    occo("doctor")


def see(infra_id: str, example: Example, cloud: str, shows: str) -> None:
    """Ask until the answer has what it should have."""
    (visited,) = system.instances(infra_id)[example.visited]
    url = f"http://{visited['resource_address']}:8000{example.path[cloud]}"
    answer = ""

    def shown() -> bool:
        nonlocal answer
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = response.read().decode().strip()
        return re.search(shows, answer) is not None

    system.wait_until(shown, f"an answer of {url} like {shows!r}")
    print(f"{url}: {answer}")


def main() -> int:
    chosen = EXAMPLES.get(sys.argv[1]) if len(sys.argv) == 3 else None
    if chosen is None or sys.argv[2] not in chosen.definitions:
        print(__doc__, file=sys.stderr)
        return 2
    os.environ.setdefault("OCCO_SECRET_SHOP_DATABASE", secrets.token_hex(16))  # the workers inherit it
    try:
        with system.running():
            life(chosen, sys.argv[2])
    except (system.Failed, OSError) as problem:
        print(f"\nThe example failed: {problem}", file=sys.stderr)
        return 1
    say("All of it worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
