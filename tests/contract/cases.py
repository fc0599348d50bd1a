"""What the contract suite needs of each resource handler: a Case, made by the modules ``case_*.py`` beside this.

A case module exposes ``make_case(tmp_path) -> Case``, or ``make_cases(tmp_path) -> list[Case]`` when one handler
is to be tested in several settings. It may have MARKS, pytest's marks of its one case. test_resourcehandlers.py finds
the modules by their names and runs the whole suite on each case. A new handler passes the contract by adding one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from occo_celery.plugins.resourcehandler import base

T = TypeVar("T")

#: The secret that wrong credentials have.
WRONG = "surely-a-wrong-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One resource handler in one setting, and the means to do behind its back what clouds do.

    name: shown in test ids.
    make_handler: a fresh handler object for the same account each time, as another process would have.
    creation: ``creation(node_id, infra_id="infra-1")`` gives a valid Creation.
    vanish: the instance of this node_id dies or disappears without the handler being told.
    settle: lets stale lists pass (moves a clock, or waits); None where a list is never stale.
    bad_creation: ``bad_creation(node_id)`` gives a Creation that must raise PermanentError; None if there is none.
    user_data_of: reads back, past the handler, the user data that an instance was given; None if it takes none.
    cleanup: called after each test, also after a failed one; frees everything, whatever the test left behind.

    The rest may be None where a cloud cannot be brought to do it; why_not then says why, by the names of the fields.
    throttle: within it, the cloud refuses a creation because it is asked too often; gives the seconds that it asks
        one to wait, None if it does not say.
    lose_answer: within it, a creation by the handler that it gives is carried out, and the answer is lost.
    wrong_credentials: a handler for the same account whose secret is WRONG.
    """

    name: str
    make_handler: Callable[[], base.ResourceHandler]
    creation: Callable[..., base.Creation]
    vanish: Callable[[str], None]
    settle: Callable[[], None] | None
    bad_creation: Callable[[str], base.Creation] | None
    cleanup: Callable[[], None]
    user_data_of: Callable[[str], str | None] | None = None
    throttle: Callable[[], AbstractContextManager[float | None]] | None = None
    lose_answer: Callable[[], AbstractContextManager[base.ResourceHandler]] | None = None
    wrong_credentials: Callable[[], base.ResourceHandler] | None = None
    why_not: Mapping[str, str] = field(default_factory=dict)


def wait_until(condition: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """The first true value of the condition, looked at again and again; AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {timeout:g} s; last value: {value!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return value
