"""What must hold of the cloud: at every new instance, and once quiet. Called by world.py.

A call that its process sent after its time (it stalled between the last look at its lease and the call, which nothing
can prevent) is told apart: such an instance may come too late, and be left to the sweep of accounts if its process
then died. Guard 4 bounds everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from occo_celery.plugins.resourcehandler import simulated_cloud
from occo_celery.simulation import baton, books, cloud


class Truth:
    """Every instance that was ever made. tokens: the cloud has idempotency tokens."""

    def __init__(
        self,
        the_baton: baton.Baton,
        ledger: books.Books,
        violated: Callable[[str, str], None],
        *,
        tokens: bool,
        call_timeout: float,
    ) -> None:
        self._baton, self._books, self._violated = the_baton, ledger, violated
        self._tokens, self._call_timeout = tokens, call_timeout
        self._made: dict[str, list[tuple[cloud.Account, str]]] = {}
        #: infra_id: detached, and nothing is to begin any more.
        self.frozen: set[str] = set()
        #: Instances of calls that were sent after their time.
        self.late: set[str] = set()

    def made(self, account: cloud.Account, instance: simulated_cloud.Instance) -> None:
        """A cloud has taken a call that makes an instance."""
        assert self._baton.current is not None
        mine = self._baton.current.life
        self._baton.note(f"made {instance.instance_id} for {instance.node_id}")
        others = self._made.setdefault(instance.node_id, [])
        # What a call made that was sent after its time is counted apart, whether it was first or last.
        twins = [one for where, one in others if not where.died(one) and one not in self.late]
        others.append((account, instance.instance_id))
        if self._baton.now - mine.checked_at > 2 * self._call_timeout:
            self.late.add(instance.instance_id)
            return
        if self._tokens and twins:
            self._violated("twin", f"{instance.node_id} has {twins} and now {instance.instance_id}")
        if instance.infra_id in self.frozen:
            self._violated("detach", f"{instance.node_id} made after detach of {instance.infra_id} returned")
        if self._books.infras[instance.infra_id].phase == "torn_down":
            self._violated("torn down", f"{instance.node_id} made after {instance.infra_id} was torn down")

    def differences(self, alive: Sequence[simulated_cloud.Instance]) -> tuple[list[str], list[str]]:
        """Instances that no row knows, and rows whose instance is not there."""
        known = {one.instance_id for one in self._books.nodes.values() if one.instance_id is not None}
        there = {one.instance_id for one in alive}
        return sorted(there - known), sorted(known - there)
