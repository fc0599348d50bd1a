"""SDKs of clouds are extras: nobody else loads them, and whoever needs one that is missing is told which."""

from __future__ import annotations

import subprocess
import sys

import pytest

SDKS = {"boto3", "botocore", "docker"}


def run(code: str) -> str:
    """What Python, started afresh, prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import occo_celery.api.manager, occo_celery.api.importing, occo_celery.wiring, occo_celery.cli.main",
        "from occo_celery.plugins import registry; registry.names('resource')",
        *(
            f"from occo_celery.plugins import registry; registry.load('resource', {name!r})"
            for name in ("process", "machine", "simulated")
        ),
        "from occo_celery.plugins import registry; registry.load('contextualisation', 'docker')",
    ],
)
def test_no_sdk_is_loaded_that_nobody_asked_for(code: str) -> None:
    loaded = run(f"{code}\nimport sys\nprint(*sys.modules)").split()
    assert not SDKS & set(loaded)


@pytest.mark.parametrize(("handler", "other", "sdk"), [("docker", "ec2", "docker"), ("ec2", "docker", "boto3")])
def test_the_extra_that_is_missing_is_named(handler: str, other: str, sdk: str) -> None:
    code = f"""
import sys
sys.modules[{sdk!r}] = None
from occo_celery import errors
from occo_celery.plugins import registry
registry.load("resource", {other!r})
try:
    registry.schema_for("resource", {handler!r})
except errors.PluginError as problem:
    print(problem)
"""
    told = run(code)
    assert f"needs {sdk}" in told
    assert f"pip install 'occo-celery[{handler}]'" in told
