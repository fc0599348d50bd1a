"""A network namespace for the machines of a test process; needs root, see .ci/install-for-system-tests."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
from collections.abc import Sequence


@functools.cache
def namespace() -> str:
    """Its name; made when first asked for. It has no way out."""
    if os.geteuid() != 0:
        raise RuntimeError("machines cannot be tested without root; see .ci/install-for-system-tests")
    name, owner = f"occo-machines-{os.getpid()}", os.getpid()
    subprocess.run(["ip", "netns", "add", name], check=True)
    atexit.register(lambda: subprocess.run(["ip", "netns", "delete", name]) if os.getpid() == owner else None)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    return name


def inside() -> Sequence[str]:
    """What a command begins with that is to run in that network."""
    return ["nsenter", f"--net=/run/netns/{namespace()}"]
