"""Users who do anything at any moment, through the real InfrastructureManager. What is refused is no harm."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from occo_celery import errors
from occo_celery.api.manager import InfrastructureManager
from occo_celery.simulation import baton, books, truth

#: At most so many infrastructures that are not torn down.
MOST = 3


class Scripts:
    """What one user may do next; shared by all users of a run.

    Detaching is watched: when it has returned and nobody has begun to attach meanwhile, nothing may begin.
    """

    def __init__(
        self, rng: random.Random, ledger: books.Books, the_truth: truth.Truth, the_baton: baton.Baton
    ) -> None:
        self._rng, self._books, self._truth, self._baton = rng, ledger, the_truth, the_baton
        self._attaching: Counter[str] = Counter()
        self._names = 0

    def act(self, manager: InfrastructureManager) -> None:
        """Do one thing."""
        infras = [one.infra_id for one in self._books.infras.values() if one.phase == "submitted"]
        if len(infras) < MOST and (not infras or self._rng.random() < 0.15):
            self._baton.note("user adds")
            manager.add(self.description())
            return
        infra_id = self._rng.choice(infras)
        name = self._rng.choices(list(ACTIONS), [weight for weight, _ in ACTIONS.values()])[0]
        self._baton.note(f"user: {name} {infra_id}")
        try:
            ACTIONS[name][1](self, manager, infra_id)
        except errors.OccoError as problem:
            self._baton.note(f"user: {type(problem).__name__}")

    # --- descriptions --------------------------------------------------------------------------------------------

    def description(self, name: str | None = None) -> dict[str, Any]:
        self._names += 1
        rng, count = self._rng, self._rng.randint(2, 4)
        nodes = []
        for letter in "abcd"[:count]:
            least = rng.choice((0, 1, 1, 1, 2))
            nodes.append(
                {
                    "name": letter,
                    "type": rng.choice(("t", "t", "u")),
                    "scaling": {"min": least, "max": max(1, least + rng.choice((0, 1, 2)))},
                    "variables": {"version": rng.randint(1, 2)},
                }
            )
        dependencies = [["abcd"[late], "abcd"[early]] for late in range(count) for early in range(late)]
        return {
            "infra_name": name or f"infra-{self._names}",
            "nodes": nodes,
            "dependencies": [one for one in dependencies if rng.random() < 0.4],
        }

    # --- actions -------------------------------------------------------------------------------------------------

    def attach(self, manager: InfrastructureManager, infra_id: str) -> None:
        self._attaching[infra_id] += 1
        self._truth.frozen.discard(infra_id)
        manager.attach(infra_id)

    def detach(self, manager: InfrastructureManager, infra_id: str, wait: float = 60.0) -> None:
        before = self._attaching[infra_id]
        manager.stop_provisioning(infra_id, wait_timeout=wait)
        if self._attaching[infra_id] == before:
            self._truth.frozen.add(infra_id)

    def glimpse(self, manager: InfrastructureManager, infra_id: str) -> None:
        self.detach(manager, infra_id, wait=0.0)

    def tear_down(self, manager: InfrastructureManager, infra_id: str) -> None:
        manager.stop_provisioning(infra_id, wait_timeout=30.0)
        manager.tear_down(infra_id)

    def scale_up(self, manager: InfrastructureManager, infra_id: str) -> None:
        manager.scale_up(infra_id, self._node(infra_id))

    def scale_down(self, manager: InfrastructureManager, infra_id: str) -> None:
        named = [one for one in self._books.nodes.values() if one.infra_id == infra_id and one.alive]
        if named and self._rng.random() < 0.5:
            victim = self._rng.choice(named)
            manager.scale_down(infra_id, victim.node_name, victim.node_id)
        else:
            manager.scale_down(infra_id, self._node(infra_id))

    def scale_to(self, manager: InfrastructureManager, infra_id: str) -> None:
        manager.scale_to(infra_id, self._node(infra_id), self._rng.randint(0, 3))

    def update(self, manager: InfrastructureManager, infra_id: str) -> None:
        name = self._books.description(self._books.infras[infra_id]).name
        how = self._rng.choice(("rolling", "rolling", "recreate", "ignore"))
        manager.update_infrastructure(infra_id, self.description(name), update=how)

    def suspend(self, manager: InfrastructureManager, infra_id: str) -> None:
        manager.suspend(infra_id)

    def resume(self, manager: InfrastructureManager, infra_id: str) -> None:
        manager.resume(infra_id)

    def retry(self, manager: InfrastructureManager, infra_id: str) -> None:
        manager.retry(infra_id)

    def replace(self, manager: InfrastructureManager, infra_id: str) -> None:
        there = [one for one in self._books.nodes.values() if one.infra_id == infra_id and one.alive]
        if there:
            manager.replace(self._rng.choice(there).node_id)

    def _node(self, infra_id: str) -> str:
        return self._rng.choice(self._books.description(self._books.infras[infra_id]).nodes).name


#: What users do, and how often.
ACTIONS: Mapping[str, tuple[float, Callable[[Scripts, InfrastructureManager, str], None]]] = {
    "attach": (4, Scripts.attach),
    "detach": (1.5, Scripts.detach),
    "detach without waiting": (1, Scripts.glimpse),
    "tear_down": (0.7, Scripts.tear_down),
    "scale_up": (2, Scripts.scale_up),
    "scale_down": (2, Scripts.scale_down),
    "scale_to": (2, Scripts.scale_to),
    "update": (1.5, Scripts.update),
    "suspend": (0.7, Scripts.suspend),
    "resume": (2, Scripts.resume),
    "retry": (0.5, Scripts.retry),
    "replace": (1, Scripts.replace),
}
