"""``cmd(command)`` of templates: runs a program on the worker's host, where the configuration allows it.

Called by names.py; which of the functions, wiring.py says.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess

from occo_celery import errors

#: Seconds that a command has.
LIMIT = 5.0


def off(command: str) -> str:
    """Raises TemplateError."""
    raise errors.TemplateError(
        "cmd() is turned off; `contextualisation: {cmd: true}` in the configuration turns it on"
    )


def elsewhere(command: str) -> str:
    """Raises TemplateError: health checks and attributes are rendered again and again, within passes."""
    raise errors.TemplateError(
        "cmd() is for what an instance is told when it is made, not for health checks and mapped attributes"
    )


def run(command: str) -> str:
    """What a command puts out, without white space around it.

    command: split as a shell would, but no shell runs it. Raises TemplateError, without the command's words and
    without its output: they may hold secrets.
    """
    try:
        process = subprocess.Popen(
            _split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that all of it can be ended
        )
    except (OSError, ValueError) as problem:
        why = (
            problem.strerror if isinstance(problem, OSError) else None
        ) or "it has a character that cannot be given"
        raise errors.TemplateError(f"cmd(): the command cannot be run on the worker: {why}") from None
    with process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise errors.TemplateError(f"cmd(): the command was not over after {LIMIT:g} s, and was ended") from None
    if process.returncode:
        raise errors.TemplateError(f"cmd(): the command ended with exit code {process.returncode}")
    try:
        return output.decode().strip()
    except UnicodeDecodeError:
        raise errors.TemplateError("cmd(): what the command put out is not text in UTF-8") from None


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except (ValueError, AttributeError):  # AttributeError: not a text
        words = []
    if not words:
        raise errors.TemplateError("cmd(): the command is empty, not a text, or has a quote that is not closed")
    return words
