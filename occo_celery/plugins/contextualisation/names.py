"""The names that the templates of one instance may use (behaviour.md section 3). Pure, but for fetching secrets.

Called by infraprocessor/resolve.py with what was frozen for the instance, so that a second rendering is the same.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from occo_celery import errors
from occo_celery.model import description as descriptions
from occo_celery.model import instance
from occo_celery.plugins.contextualisation import commands, templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An instance of a node that this one depends on; the first address is the one to be reached at.

    attributes: those that are mapped to names of this node. withheld: why there is no value of others.
    """

    node_id: str
    addresses: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)


def names(
    *,
    description: descriptions.StaticDescription,
    node: descriptions.NodeDescription,
    node_id: str,
    definition: Mapping[str, Any],
    peers: Mapping[str, Sequence[Peer]],
    secret: Callable[[str], str],
    decrypt: Callable[[str], str],
    cmd: Callable[[str], str] = commands.elsewhere,
) -> dict[str, Any]:
    """What a template may use, by name.

    definition: the chosen implementation; peers: the running instances of the nodes that this one depends on,
    by node name; secret: fetches the value of a secret; decrypt: opens one that is stored encrypted (no template can
    call it); cmd: runs a command, or says why not (commands.py).
    A later line goes before an earlier one. The functions raise TemplateError.
    """
    instances = _Instances(description, node, peers)
    return {
        **definition,
        **instances.mapped(),
        "type": node.type,
        "filter": dict(node.filter),
        "scaling": {"min": node.scaling.min, "max": node.scaling.max},
        "variables": dict(node.variables),
        "infra_id": description.infra_id,
        "infra_name": description.name,
        "user_id": description.user_id,
        "name": node.name,
        "node_id": node_id,
        "getip": instances.getip,
        "getprivip": instances.getprivip,
        "getipall": instances.getipall,
        "find_node_id": instances.find_node_id,
        "ibget": instances.ibget,
        "cut": cut,
        "secret": secret,
        templates.DECRYPT: decrypt,
        "cmd": cmd,
    }


def cut(text: object, start: int, end: int) -> str:
    """The characters of a text from start up to, not including, end; counted from 0."""
    return str(text)[start:end]


@dataclass(frozen=True, slots=True)
class _Instances:
    """The instances that templates may ask for."""

    description: descriptions.StaticDescription
    node: descriptions.NodeDescription
    peers: Mapping[str, Sequence[Peer]]

    def getip(self, node: str) -> str:
        """The first address of the first instance of a node, or of an instance given by its node_id."""
        return self._addresses(node)[0]

    def getprivip(self, node: str) -> str:
        """The first private address of the first instance of a node; if it has none, its first address."""
        addresses = self._addresses(node)
        return next((one for one in addresses if _is_private(one)), addresses[0])

    def getipall(self, node: str) -> list[str]:
        """The first addresses of all instances of a node; of those that have one."""
        return [peer.addresses[0] for peer in self._find(node) if peer.addresses]

    def find_node_id(self, node: str, allnodes: bool = False) -> str | list[str]:
        """The node_id of the first instance of a node; with allnodes a list of all."""
        found = [peer.node_id for peer in self._find(node)]
        return found if allnodes else self._first(node, found)

    def ibget(self, key: str, *arguments: Any, **named: Any) -> Any:
        """A key of Occopus' info broker with its arguments there, as far as it is known when an instance is made."""
        known: dict[str, Callable[..., Any]] = {
            "infrastructure.name": lambda infra_id=None: self._own(infra_id).name,
            "infrastructure.id": lambda infra_id=None: self._own(infra_id).infra_id,
            "node.resource.address": self.getip,
            "node.resource.ip_address": self.getip,
            "node.address": self.getip,
            "node.addresses": self.getipall,
            "node.find": lambda name, infra_id=None: self._own(infra_id) and self.find_node_id(name, True),
            "node.find_one": lambda name, infra_id=None: self._own(infra_id) and self.find_node_id(name),
        }
        if key not in known:
            raise errors.TemplateError(f"ibget() does not know {key!r}; it knows: {', '.join(sorted(known))}")
        try:
            inspect.signature(known[key]).bind(*arguments, **named)
        except TypeError as problem:
            raise errors.TemplateError(f"ibget({key!r}): {problem}") from problem
        return known[key](*arguments, **named)

    def _own(self, infra_id: str | None) -> descriptions.StaticDescription:
        """The infrastructure itself; templates see no other."""
        if infra_id not in (None, self.description.infra_id):
            raise errors.TemplateError("ibget() knows nothing of other infrastructures; pass `infra_id`, or nothing")
        return self.description

    def mapped(self) -> dict[str, Any]:
        """The attributes that the dependencies of the node map to names of its own; of those that no instance has,
        what says so when it is used."""
        return {
            mapping.target: self._attribute(dependee, mapping.source)
            for dependee, mapping in self.description.mappings.get(self.node.name, ())
        }

    def _attribute(self, node: str, attribute: str) -> Any:
        """Of the first instance that has it."""
        why = "no running instance of it has that"
        for peer in self.peers.get(node, ()):
            if attribute in instance.ADDRESS_ATTRIBUTES and peer.addresses:
                return peer.addresses[0]
            if attribute in peer.attributes:
                return peer.attributes[attribute]
            why = peer.withheld.get(attribute, why)
        return templates.undefined(f"attribute {attribute!r} of node {node!r}: {why}")

    def _addresses(self, node: str) -> tuple[str, ...]:
        peer: Peer = self._first(node, self._find(node))
        if not peer.addresses:
            raise errors.TemplateError(f"instance {peer.node_id} of node {node!r} has no address yet")
        return peer.addresses

    def _first(self, node: str, found: Sequence[Any]) -> Any:
        if not found:
            raise errors.TemplateError(f"node {node!r} has no running instance")
        return found[0]

    def _find(self, node: str) -> Sequence[Peer]:
        if node in self.peers:
            return self.peers[node]
        for some in self.peers.values():
            for peer in some:
                if peer.node_id == node:
                    return [peer]
        if node == self.node.name:
            raise errors.TemplateError(f"the addresses of node {node!r} itself are not known before it is made")
        if node in self.description.node_lookup:
            raise errors.TemplateError(
                f"node {self.node.name!r} does not depend on node {node!r}; declare it: [{self.node.name}, {node}] "
                "in `dependencies`"
            )
        there = ", ".join(self.description.node_lookup)
        raise errors.TemplateError(f"there is no node {node!r}; there are: {there}")


def _is_private(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:  # a host name
        return False
