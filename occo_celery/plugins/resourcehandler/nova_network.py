"""Ports with floating addresses, for the handler `nova`: made before a server, left over after it, and freed then.

Called by nova.py. A server gets its ports from Nova some time after its creation was asked for, and no call waits for
that: so where a floating address is wanted, the port is made first, the address is given to it, and the server is
told to use it. Ports and addresses bear names and descriptions by which they are found again, see nova_listing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from openstack import exceptions as sdk

from occo_celery import errors
from occo_celery.plugins.resourcehandler import nova_listing, nova_section
from occo_celery.plugins.resourcehandler.nova_client import ask  # name: its many uses read as sentences

#: What is shown of ports.
_PORT_FIELDS = ["id", "name", "device_id"]


def ports(network: Any, **which: str) -> list[dict[str, Any]]:
    """The ports that were made for nodes, in all of the project."""
    asked = {"description": nova_listing.MARK, "fields": _PORT_FIELDS, **which}
    found: list[dict[str, Any]] = ask(network, "GET", "/ports", params=asked)["ports"]
    return found


def addresses(network: Any, **which: str) -> list[dict[str, Any]]:
    """Floating addresses of the project."""
    found: list[dict[str, Any]] = ask(network, "GET", "/floatingips", params=which)["floatingips"]
    return found


def prepare(network: Any, section: nova_section.NovaSection, label: str, made: Callable[[str], None]) -> str:
    """The id of a port with a floating address. What an earlier attempt left behind is used again.

    label: of the node, see nova_listing. made: is told the id of the port as soon as there is one, also when what
    follows fails. Raises PermanentError, and the SDK's errors.
    """
    outside = _outside(network, section.floating_ip_pool)
    free = [one["id"] for one in ports(network, name=label) if not one["device_id"]]
    port = str(free[0] if free else _new_port(network, section, label))
    made(port)
    if not (free and addresses(network, port_id=port)):
        told = {
            "floating_network_id": outside,
            "port_id": port,
            "description": f"{nova_listing.MARK} {label}",
        }
        ask(network, "POST", "/floatingips", json={"floatingip": told})
    return port


def free_port(network: Any, port: str) -> None:
    """Give up a port that no server has, and its floating addresses. One that a server has, is left alone."""
    with contextlib.suppress(sdk.NotFoundException):
        if ask(network, "GET", f"/ports/{port}")["port"].get("device_id"):
            return
        for one in addresses(network, port_id=port):
            _delete(network, f"/floatingips/{one['id']}")
        _delete(network, f"/ports/{port}")


def free_address(network: Any, address: str) -> None:
    """Give up a floating address that no port has."""
    with contextlib.suppress(sdk.NotFoundException):
        if not ask(network, "GET", f"/floatingips/{address}")["floatingip"].get("port_id"):
            _delete(network, f"/floatingips/{address}")


def _delete(network: Any, path: str) -> None:
    with contextlib.suppress(sdk.NotFoundException):
        ask(network, "DELETE", path)


def _new_port(network: Any, section: nova_section.NovaSection, label: str) -> str:
    told: dict[str, Any] = {
        "network_id": section.network_id or _inside(network),
        "name": label,
        "description": nova_listing.MARK,
    }
    if section.security_groups:
        told["security_groups"] = _security_groups(network, section.security_groups)
    return str(ask(network, "POST", "/ports", json={"port": told})["port"]["id"])


def _inside(network: Any) -> str:
    """The only network that servers can be in."""
    found = _networks(network, {"router:external": False})
    if len(found) != 1:
        raise errors.PermanentError(
            f"nova: the project has {len(found)} networks: {_listed(found)}; name one by network_id"
        )
    return str(found[0]["id"])


def _outside(network: Any, pool: str | None) -> str:
    """The network that floating addresses come from."""
    found = _networks(network, {"router:external": True})
    named = [one for one in found if pool in (None, one["name"], one["id"])]
    if len(named) != 1:
        wanted = "several networks give floating addresses" if named else "no network gives such floating addresses"
        raise errors.PermanentError(f"nova: {wanted}; there are: {_listed(found)}; name one by floating_ip_pool")
    return str(named[0]["id"])


def _security_groups(network: Any, wanted: list[str]) -> list[str]:
    """Ids, of names or ids: Neutron wants ids only."""
    known = ask(network, "GET", "/security-groups", params={"fields": ["id", "name"]})["security_groups"]
    ids = {one["name"]: str(one["id"]) for one in known} | {one["id"]: str(one["id"]) for one in known}
    lacking = [one for one in wanted if one not in ids]
    if lacking:
        raise errors.PermanentError(f"nova: there is no security group {', '.join(lacking)}")
    return [ids[one] for one in wanted]


def _networks(network: Any, which: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked = {**which, "fields": ["id", "name"]}
    found: list[dict[str, Any]] = ask(network, "GET", "/networks", params=asked)["networks"]
    return found


def _listed(networks: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} ({one['id']})" for one in networks) or "none"
