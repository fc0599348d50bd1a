"""What the tasks hand on of their messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import celery
import pytest

from occo_celery import dispatch
from occo_celery.model.message import Claim
from occo_celery.tasks import entry


@pytest.mark.parametrize(
    ("more", "woken"), [({}, False), ({"woken": True}, True)], ids=["from_beat_or_before_an_upgrade", "woken"]
)
def test_a_pass_is_told_whether_something_has_happened(more: dict[str, Any], woken: bool) -> None:
    seen: list[Claim] = []
    app = celery.Celery(set_as_current=False)
    entry.register(app, lambda: SimpleNamespace(enactor=SimpleNamespace(run=seen.append)))  # type: ignore[arg-type, return-value]
    app.tasks[dispatch.PASS]("t", ["i1", "i2"], **more)
    assert seen == [Claim(token="t", infra_ids=("i1", "i2"), woken=woken)]
