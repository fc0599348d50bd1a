"""What must hold of the UDS after every transaction: compared with what was there before it.

Read beside the system, from the committed rows. Called by world.py.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from occo_celery.model import description
from occo_celery.model.request import Kind, Request
from occo_celery.planner import scaling
from occo_celery.simulation import database, interleaved

#: Reasons of drops that have nothing to do with how an instance is.
WANTED = frozenset({"surplus", "removed", "recreated", "replaced", ""})


class Node(NamedTuple):
    node_id: str
    infra_id: str
    node_name: str
    lifecycle: str
    status: str
    outdated: str | None
    instance_id: str | None
    account: str | None

    @property
    def alive(self) -> bool:
        return self.lifecycle != "dropping"

    @property
    def ready(self) -> bool:
        return self.lifecycle == "running" and self.status == "ready"


class Infra(NamedTuple):
    infra_id: str
    phase: str
    generation: int
    suspended: int
    targets: Mapping[str, int]
    ready_since: float | None
    managed: bool
    passes: int


_NODES = "SELECT node_id, infra_id, node_name, lifecycle, status, outdated, instance_id, account FROM nodes"
_INFRAS = (
    "SELECT i.infra_id, i.phase, generation, suspended, targets, ready_since, s.infra_id IS NOT NULL,"
    " coalesce(s.passes, 0) FROM infrastructures i LEFT JOIN schedule s ON s.infra_id = i.infra_id"
)
_REQUESTS = "SELECT id, infra_id, node_name, kind, count, node_id FROM requests ORDER BY id"
_EVENTS = "SELECT id, infra_id, name, data FROM events WHERE id > ? ORDER BY id"


class Books:
    """The UDS as of the last transaction.

    healthy: the truth about an instance (account, instance_id). late: an instance comes of a call that was sent after
    its time. swept: how many instances only the sweep of whole accounts found.
    """

    def __init__(
        self,
        data: database.Database | interleaved.Database,
        violated: Callable[[str, str], None],
        healthy: Callable[[str, str], bool],
        late: Callable[[str], bool],
    ) -> None:
        self._data, self._violated, self._healthy, self._late = data, violated, healthy, late
        self.swept = 0
        self._descriptions: dict[tuple[str, int], description.StaticDescription] = {}
        self._last_event = 0
        self.nodes: dict[str, Node] = {}
        self.infras: dict[str, Infra] = {}
        self.requests: dict[int, tuple[str, Request]] = {}

    def read(self) -> None:
        """Read everything anew."""
        self.nodes = {row[0]: Node._make(row) for row in self._data.rows(_NODES)}
        self.infras = {row[0]: _infra(row) for row in self._data.rows(_INFRAS)}
        self.requests = {
            row[0]: (row[1], Request(id=row[0], node_name=row[2], kind=Kind(row[3]), count=row[4], node_id=row[5]))
            for row in self._data.rows(_REQUESTS)
        }

    def check(self) -> None:
        """A transaction was committed: what does it mean?"""
        nodes, infras, asked = self.nodes, self.infras, self.requests
        self.read()
        events = self._data.rows(_EVENTS, (self._last_event,))
        if events:
            self._last_event = events[-1][0]
        reasons = {}
        for _, _, name, data in events:
            if name == "nodedropping":
                told = _json(data)
                if "stray" in told:
                    self._stray(told)
                    continue
                reasons[told["node_id"]] = told.get("reason", "")
        self._spared(nodes, reasons)
        for node_id, node in self.nodes.items():
            before = nodes.get(node_id)
            if before == node:
                continue
            if before is None:
                self._planned(node)
            if node.lifecycle == "creating" and (before is None or before.lifecycle == "planned"):
                self._begun(node)
            if node.lifecycle == "dropping" and before is not None and before.alive:
                self._dropped(node, reasons.get(node_id, ""))
        self._ready()
        if asked != self.requests or any(infras[key].targets != self.infras[key].targets for key in infras):
            self._scaled(infras, asked)

    def _stray(self, told: Mapping[str, Any]) -> None:
        """Something is dropped that is not on record. What nothing but the sweep can find is left over for no other
        reason than a call sent after its time."""
        if told["node_id"] not in self.nodes:
            self.swept += 1
            if not self._late(told["stray"]):
                self._violated("orphan", f"only the sweep found {told['stray']} of {told['node_id']}")

    def _planned(self, node: Node) -> None:
        infra = self.infras[node.infra_id]
        if not infra.managed or infra.suspended or infra.phase != "submitted":
            self._violated("managed", f"{node.node_id} planned, but {node.infra_id} is not being provisioned")
        wanted = self.description(infra).node_lookup.get(node.node_name)
        peers = [one for one in self._peers(node) if one.alive]
        most = wanted.scaling.max if wanted is not None else 0
        if len(peers) > most + any(one.outdated for one in peers):
            self._violated("max", f"{node.node_name} of {node.infra_id} has {len(peers)} instances, max is {most}")

    def _begun(self, node: Node) -> None:
        infra = self.infras[node.infra_id]
        desired = self.description(infra)
        ready = Counter(one.node_name for one in self.nodes.values() if one.ready and one.infra_id == infra.infra_id)
        for name in desired.dependees[node.node_name]:
            wanted = scaling.target(desired.node_lookup[name], infra.targets)
            if ready[name] < wanted:
                self._violated("dependees", f"{node.node_id} begun with {ready[name]} of {wanted} {name} ready")

    def _dropped(self, node: Node, reason: str) -> None:
        if reason in WANTED:
            return
        if node.status == "unknown":
            self._violated("unknown", f"{node.node_id} is dropped though nobody knows how it is: {reason}")
        if node.instance_id and node.account and self._healthy(node.account, node.instance_id):
            self._violated("unknown", f"{node.node_id} is dropped though it is well: {reason}")

    def _spared(self, before: Mapping[str, Node], reasons: Mapping[str, str]) -> None:
        """Nobody is dropped as one too many while the node has no more than its min."""
        spare = Counter(
            (one.infra_id, one.node_name)
            for one in self.nodes.values()
            if reasons.get(one.node_id) in ("surplus", "replaced")
        )
        for (infra_id, name), count in spare.items():
            wanted = self.description(self.infras[infra_id]).node_lookup.get(name)
            there = sum(one.alive and (one.infra_id, one.node_name) == (infra_id, name) for one in before.values())
            if wanted is not None and there - count < wanted.scaling.min:
                self._violated("min", f"{name} of {infra_id}: {count} of {there} dropped as one too many")

    def _ready(self) -> None:
        """Passes only glance at what is said to be ready: then all must be there, and nothing asked for."""
        for infra in self.infras.values():
            if infra.ready_since is None or not infra.managed:
                continue
            counts = Counter(one.node_name for one in self.nodes.values() if one.infra_id == infra.infra_id)
            wanted = {one.name: scaling.target(one, infra.targets) for one in self.description(infra).nodes}
            if counts != Counter(wanted):
                self._violated("ready", f"{infra.infra_id} is said to be ready with {counts} of {wanted}")
            if any(whose == infra.infra_id for whose, _ in self.requests.values()):
                self._violated("ready", f"{infra.infra_id} is said to be ready though a request waits")

    def _peers(self, node: Node) -> Iterator[Node]:
        return (
            one for one in self.nodes.values() if one.infra_id == node.infra_id and one.node_name == node.node_name
        )

    def _scaled(self, before: Mapping[str, Infra], asked: Mapping[int, tuple[str, Request]]) -> None:
        """Requests that are over have been applied, in their order and once; nothing else changes a target."""
        for infra_id, infra in self.infras.items():
            if infra.phase != "submitted" or infra_id not in before:
                continue
            over = [one for key, (whose, one) in asked.items() if whose == infra_id and key not in self.requests]
            targets = before[infra_id].targets
            if over:
                targets = scaling.apply(self.description(infra), targets, over).targets
            if dict(targets) != dict(infra.targets):
                self._violated("requests", f"{infra_id}: {over} made {dict(infra.targets)}, not {dict(targets)}")

    def description(self, infra: Infra) -> description.StaticDescription:
        key = (infra.infra_id, infra.generation)
        if key not in self._descriptions:
            sql = "SELECT description FROM revisions WHERE infra_id = ? AND generation = ?"
            self._descriptions[key] = description.StaticDescription.from_json(
                infra.infra_id, _json(self._data.rows(sql, key)[0][0])
            )
        return self._descriptions[key]


def _infra(row: Any) -> Infra:
    return Infra(row[0], row[1], row[2], row[3], _json(row[4]), row[5], bool(row[6]), row[7])


def _json(value: Any) -> Any:
    """What nobody changes: the same text is read once."""
    return _loads(value) if isinstance(value, str) else value


_loads = functools.lru_cache(maxsize=1024)(json.loads)
