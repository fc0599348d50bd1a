"""The end of a run: no more trouble, and everything must come to rest; then, perhaps, the end of everything.

Called by world.py, as its director.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from occo_celery.api.manager import InfrastructureManager

if TYPE_CHECKING:
    from occo_celery.simulation.world import World

#: Seconds of calm after which everything must be at rest, and passes that it may take.
REST = 1200.0
MOST_PASSES = 200
#: Seconds for which nothing may come after the end of everything.
AFTER = 120.0


class End:
    """What becomes of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def calm_down(self) -> None:
        """No more trouble; those who stall come back first."""
        self._world.baton.note("calm")
        self._world.calm, self._world.faults.on = True, False
        self._world.outages.end()
        for account in self._world.accounts.values():
            account.silent_until = 0.0
        self._world.baton.sleep(2 * self._world.lease + 10)

    def rest(self) -> None:
        """Everything must come to rest: the cloud holds what the UDS knows, and all is ready."""
        began = self._world.baton.now
        before = {one.infra_id: one.passes for one in self._world.books.infras.values()}
        while unrest := self._unrest():
            if self._world.baton.now > began + REST:
                self._world.violated("rest", f"not at rest after {REST:g} s of calm: {'; '.join(unrest)}")
                return
            self._world.baton.sleep(5.0)
        self.compare("at rest")
        most = max((one.passes - before.get(one.infra_id, 0) for one in self._world.books.infras.values()), default=0)
        self._world.baton.note(f"at rest after {self._world.baton.now - began:g} s, {most} passes")
        if most > MOST_PASSES:
            self._world.violated("passes", f"{most} passes until all was ready")

    def _unrest(self) -> list[str]:
        self._world.books.read()
        found = [f"operation {row[0]}" for row in self._world.data.rows("SELECT target FROM operations")]
        for one in self._world.books.infras.values():
            if one.phase == "tearing_down":
                found.append(f"{one.infra_id} is being torn down")
            elif one.managed and not one.suspended and one.ready_since is None:
                found.append(f"{one.infra_id} is not ready")
        if not found:
            strangers, missing = self._world.truth.differences(self._world.alive())
            found += [f"nobody knows {one}" for one in strangers]
            found += [f"missing {one}" for one in missing if self._heals(one)]
        return found

    def _heals(self, instance_id: str) -> bool:
        """Somebody makes passes on the infrastructure of this instance."""
        node = next(one for one in self._world.books.nodes.values() if one.instance_id == instance_id)
        infra = self._world.books.infras[node.infra_id]
        return infra.managed and not infra.suspended

    def compare(self, when: str) -> None:
        self._world.books.read()
        strangers, missing = self._world.truth.differences(self._world.alive())
        for one in strangers:
            self._world.violated("orphan", f"{when}: nobody knows {one}")
        for one in missing:
            if self._heals(one):
                self._world.violated("lost", f"{when}: {one} is on record, but not there")

    def end_everything(self) -> None:
        self._world.baton.note("the end")
        manager = InfrastructureManager(system=self._world.incarnation("director"))
        for one in list(self._world.books.infras.values()):
            if one.phase == "submitted":
                if one.managed:
                    self._world.users.detach(manager, one.infra_id, wait=300.0)
                manager.tear_down(one.infra_id).wait(600.0)
        self._nothing("after tear_down")
        self._world.baton.sleep(AFTER)
        self._nothing("later")

    def _nothing(self, when: str) -> None:
        self.compare(when)
        for name in ("nodes", "operations", "schedule", "requests"):
            if rows := self._world.data.rows(f"SELECT * FROM {name}"):  # noqa: S608  # names of ours only
                self._world.violated("left", f"{when}: {len(rows)} rows in {name}")
