"""Node definitions and helpers that the tests of the compiler share."""

from __future__ import annotations

from typing import Any

from occo_celery import errors
from occo_celery.compiler import compile as compiler
from occo_celery.model import description

DEFINITIONS: dict[str, list[dict[str, Any]]] = {
    "web": [
        {"resource": {"type": "ec2", "name": "amazon", "regionname": "eu-west-1", "instance_type": "t3.small"}},
        {"resource": {"type": "nova", "name": "lpds", "regionname": "budapest", "flavor_name": "m1.small"}},
    ],
    "db": [{"resource": {"type": "process", "name": "here", "command": "sleep 1"}}],
    "cache": [{"resource": {"type": "process", "name": "here", "command": "sleep 2"}}],
}


def compiled(source: Any) -> compiler.Compiled:
    return compiler.compile_description(source, infra_id="infra-1", definitions=DEFINITIONS)


def described(source: Any) -> description.StaticDescription:
    return compiled(source).description


def report(source: Any) -> str:
    """What is said of a wrong description."""
    try:
        compiled(source)
    except errors.SchemaError as problem:
        return str(problem)
    raise AssertionError("compiled, though it is wrong")
