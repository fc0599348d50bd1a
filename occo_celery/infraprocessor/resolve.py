"""Resolves a node: which implementation, and what its templates say. Pure but for fetching secrets.

Called by claims.py (choosing, inside the claim) and create.py (rendering, before the call).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from occo_celery import errors
from occo_celery.model import description, instance
from occo_celery.plugins.contextualisation import base as contextualisation
from occo_celery.plugins.contextualisation import commands, templates
from occo_celery.plugins.contextualisation import names as template_names
from occo_celery.plugins.resourcehandler import base as resourcehandler


def order(
    node: description.NodeDescription,
    implementations: Sequence[Mapping[str, Any]],
    tried: Sequence[int],
    rng: random.Random,
) -> list[int]:
    """Positions of the implementations that meet the filter, first the one to use: at random, failed ones last."""
    candidates = meeting(node, implementations)
    rng.shuffle(candidates)
    return sorted(candidates, key=lambda position: _last_failure(position, tried))


def meeting(node: description.NodeDescription, implementations: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions of the implementations whose resource section has all that the node's filter asks for."""
    return [
        position
        for position, implementation in enumerate(implementations)
        if all(implementation["resource"].get(key) == value for key, value in node.filter.items())
    ]


def _last_failure(position: int, tried: Sequence[int]) -> int:
    return max((index for index, one in enumerate(tried) if one == position), default=-1)


def dependees(desired: description.StaticDescription, node_name: str) -> Iterable[str]:
    """The names of the nodes that a node depends on, directly or not."""
    found: dict[str, None] = {}
    todo = deque(desired.dependees[node_name])
    while todo:
        name = todo.popleft()
        if name not in found:
            found[name] = None
            todo += desired.dependees[name]
    return found


def inputs(
    desired: description.StaticDescription, node: description.NodeDescription, instances: Iterable[instance.Instance]
) -> dict[str, Any]:
    """What an instance of a node is made from, as JSON without secrets: the instances of all nodes that it depends
    on, directly or not, with the attributes of theirs that are mapped to names of its own, and a hash of its
    description. Frozen with the first call, so that a doubtful one can be repeated to the letter, and that an update
    can tell what has changed."""
    peers: dict[str, list[dict[str, Any]]] = {name: [] for name in dependees(desired, node.name)}
    mapped: dict[str, set[str]] = {}
    for dependee, mapping in desired.mappings.get(node.name, ()):
        mapped.setdefault(dependee, set()).add(mapping.source)
    for one in instances:
        if one.node_name in peers and one.lifecycle is instance.Lifecycle.RUNNING:
            told = {"node_id": one.node_id, "addresses": list(one.addresses)}
            told |= _offered(desired, one, mapped.get(one.node_name, set()))
            peers[one.node_name].append(told)
    return {"peers": peers, "made_from": made_from(node)}


def _offered(desired: description.StaticDescription, peer: instance.Instance, wanted: Set[str]) -> dict[str, Any]:
    """Attributes of an instance, rendered once more; those that need a secret are withheld, with the reason."""
    told = ((peer.implementation or {}).get("contextualisation") or {}).get("attributes") or {}
    found: dict[str, Any] = {"attributes": {}, "withheld": {}}
    for name in sorted(wanted & told.keys()):
        try:
            known = names(desired, peer, secret=_no_secrets, decrypt=_no_encrypted)
            found["attributes"][name] = templates.render_tree(told[name], known, f"attribute {name}")
        except errors.TemplateError as problem:
            found["withheld"][name] = str(problem)
    return {key: value for key, value in found.items() if value}


def _no_secrets(name: str) -> str:
    raise errors.TemplateError(f"it is made from the secret {name!r}, which is stored nowhere: use the secret itself")


def _no_encrypted(token: str) -> str:
    raise errors.TemplateError("it is made from an encrypted secret, which is stored nowhere else")


def is_made_from(one: instance.Instance, node: description.NodeDescription) -> bool:
    """Was an instance made from a description that says the same?"""
    return one.inputs is not None and json.loads(one.inputs).get("made_from") == made_from(node)


def made_from(node: description.NodeDescription) -> str:
    """A hash of what a node description says of each instance: not its count, nor which implementations may do."""
    return hashlib.sha256(json.dumps([node.type, node.variables], sort_keys=True).encode()).hexdigest()


def names(
    desired: description.StaticDescription,
    node: instance.Instance,
    *,
    secret: Callable[[str], str],
    decrypt: Callable[[str], str],
    cmd: Callable[[str], str] = commands.elsewhere,
) -> dict[str, Any]:
    """The names that the templates of an instance may use, from what was frozen for it. secret: fetches one; decrypt:
    opens one that is stored encrypted; cmd: runs a command."""
    frozen = json.loads(node.inputs) if node.inputs is not None else {}
    return template_names.names(
        description=desired,
        node=desired.node_lookup[node.node_name],
        node_id=node.node_id,
        definition=node.implementation or {},
        peers={name: [_peer(one) for one in some] for name, some in frozen.get("peers", {}).items()},
        secret=secret,
        decrypt=decrypt,
        cmd=cmd,
    )


def _peer(frozen: Mapping[str, Any]) -> template_names.Peer:
    return template_names.Peer(**{**frozen, "addresses": tuple(frozen["addresses"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What the cloud is to be told. May hold secrets."""

    creation: resourcehandler.Creation
    context_hash: str


class Resolver:
    """Renders. secret: fetches a secret by name; decrypt: opens one that is stored encrypted; contextualisations:
    finds the plugin of a type; cmd: runs a command for the templates of what an instance is told."""

    def __init__(
        self,
        secret: Callable[[str], str],
        decrypt: Callable[[str], str],
        contextualisations: Callable[[str], contextualisation.Contextualisation],
        cmd: Callable[[str], str] = commands.off,
    ) -> None:
        self._secret, self._decrypt = secret, decrypt
        self._contextualisations, self._cmd = contextualisations, cmd

    def names(self, desired: description.StaticDescription, node: instance.Instance) -> dict[str, Any]:
        """The names that the templates of an instance may use while it runs."""
        return names(desired, node, secret=self._secret, decrypt=self._decrypt)

    def render(self, desired: description.StaticDescription, node: instance.Instance, *, timeout: float) -> Rendered:
        """The creation of an instance whose implementation and inputs are chosen. Raises TemplateError."""
        assert node.implementation is not None
        known = names(desired, node, secret=self._secret, decrypt=self._decrypt, cmd=self._cmd)
        where = f"node_def:{desired.node_lookup[node.node_name].type}"
        section = templates.render_tree(node.implementation["resource"], known, f"{where} resource")
        context = contextualisation.Context()
        if told := node.implementation.get("contextualisation"):
            context = self._contextualisations(told["type"]).render(told, known)
        creation = resourcehandler.Creation(
            node_id=node.node_id,
            infra_id=node.infra_id,
            node_name=node.node_name,
            section=section,
            user_data=context.user_data,
            attributes=context.attributes,
            environment=context.environment,
            command=context.command,
            timeout=timeout,
        )
        return Rendered(creation=creation, context_hash=_hash(creation))


def _hash(creation: resourcehandler.Creation) -> str:
    told = [
        creation.section,
        creation.user_data,
        creation.attributes,
        creation.environment,
        creation.command,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
