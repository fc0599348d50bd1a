"""What users do meanwhile: builds, scaling, updates, suspending, replacing, detaching, tearing down."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from occo_celery import errors
from occo_celery.api.manager import InfrastructureManager

DEFINITION = """
'node_def:sleeper':
  - resource: {type: process, command: [sleep, infinity]}
    contextualisation: {type: basic, attributes: {colour: '{{ variables.colour }}'}}
    health_check: {ping: false}
"""


def description(number: int, colour: str = "red") -> dict[str, Any]:
    """Ten instances: one that six depend on, and three that depend on those."""
    return {
        "infra_name": f"chaos-{number}",
        "variables": {"colour": colour},
        "nodes": [
            {"name": "store", "type": "sleeper"},
            {"name": "app", "type": "sleeper", "scaling": {"min": 6, "max": 10}},
            {"name": "gate", "type": "sleeper", "scaling": {"min": 3, "max": 3}},
        ],
        "dependencies": [["app", "store"], ["gate", "app"]],
    }


class Users:
    """torn: infrastructures whose end was asked for; they are never touched again."""

    def __init__(self, manager: InfrastructureManager, rng: random.Random) -> None:
        self._manager, self._rng = manager, rng
        self.infra_ids: dict[str, int] = {}
        self.torn: set[str] = set()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._actions = (
            lambda infra_id: self._manager.scale_up(infra_id, "app", 2),
            lambda infra_id: self._manager.scale_up(infra_id, "app"),
            lambda infra_id: self._manager.scale_down(infra_id, "app"),
            lambda infra_id: self._manager.scale_to(infra_id, "app", 8),
            self._update,
            self._replace,
            self._manager.suspend,
            self._manager.resume,
            lambda infra_id: self._manager.stop_provisioning(infra_id, 0),
            self._manager.attach,
        )
        self._names = (
            *("scale up", "scale up", "scale down", "scale to", "update", "replace", "suspend", "resume"),
            *("detach", "attach"),
        )

    def build(self, number: int) -> None:
        """Submit and start one; what was stored although the call failed is found when all is over."""
        self._try("build", lambda: self.infra_ids.setdefault(self._manager.add(description(number)), number))

    def act(self) -> None:
        """One thing to one infrastructure."""
        living = [one for one in self.infra_ids if one not in self.torn]
        if not living:
            return
        infra_id, number = self._rng.choice(living), self._rng.randrange(len(self._actions))
        self._try(self._names[number], lambda: self._actions[number](infra_id))

    def tear_down(self) -> None:
        living = [one for one in self.infra_ids if one not in self.torn]
        self._end(self._rng.choice(living))

    def _end(self, infra_id: str) -> None:
        self.torn.add(infra_id)
        self._try("detach", lambda: self._manager.stop_provisioning(infra_id, 0))
        self._try("tear down", lambda: self._manager.tear_down(infra_id))

    def settle(self) -> None:
        """What was refused while things were away is asked for again; all that lives is to be provisioned."""
        summaries = {one.infra_id: one for one in self._manager.list()}
        for infra_id, one in summaries.items():
            self.infra_ids.setdefault(infra_id, -1)
            if infra_id in self.torn:
                if one.phase == "submitted":
                    self._end(infra_id)
            elif not one.managed:
                self._manager.attach(infra_id)
            elif one.suspended:
                self._manager.resume(infra_id)

    def _update(self, infra_id: str) -> None:
        colour = self._rng.choice(["red", "green", "blue"])
        how = self._rng.choice(["rolling", "rolling", "recreate", "ignore"])
        self._manager.update_infrastructure(infra_id, description(self.infra_ids[infra_id], colour), how)

    def _replace(self, infra_id: str) -> None:
        report = self._manager.report(infra_id)
        instances = [node_id for node in report.values() for node_id in node["instances"]]
        if instances:
            self._manager.replace(self._rng.choice(instances))

    def _try(self, name: str, act: Any) -> bool:
        try:
            act()
        except errors.OccoError as problem:
            self.refused[type(problem).__name__] += 1
            return False
        self.done[name] += 1
        return True
