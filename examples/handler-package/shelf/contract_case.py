"""The handler `shelf` for the contract suite of occo_celery."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from occo_celery.plugins.resourcehandler import base
from shelf import handler
from tests.contract import cases


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    section = {"type": "shelf", "folder": str(tmp_path)}

    def creation(node_id: str, infra_id: str = "infra-1", **changed: Any) -> base.Creation:
        return base.Creation(node_id=node_id, infra_id=infra_id, node_name="web", section={**section, **changed})

    def told(node_id: str) -> tuple[pathlib.Path, dict[str, Any]]:
        """The file of a node, found past the handler."""
        for place in tmp_path.glob("*.instance"):
            found = json.loads(place.read_text("utf-8"))
            if found["node_id"] == node_id:
                return place, found
        raise LookupError(node_id)

    return cases.Case(
        name="shelf",
        make_handler=lambda: handler.ShelfHandler(handler.ShelfHandler.account(section, {}), section, {}, {}),
        creation=creation,
        vanish=lambda node_id: told(node_id)[0].unlink(),
        settle=None,
        bad_creation=lambda node_id: creation(node_id, size=9),
        cleanup=lambda: None,  # tmp_path is the shelf
        user_data_of=lambda node_id: told(node_id)[1]["user_data"],
    )
