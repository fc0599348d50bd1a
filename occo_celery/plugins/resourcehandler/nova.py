"""The resource handler `nova`: servers of an OpenStack cloud, through openstacksdk.

Made by resourcehandler.clouds, used by the enactor and the infraprocessor. Its helpers: nova_section (keys of the
section and credentials, names of accounts), nova_client (requests and their time limits), nova_listing (what servers
and ports are to us), nova_network (floating addresses), nova_errors (what OpenStack's errors mean).

Nova knows no tokens: creating again makes a second server. So a creation in doubt is looked up by its metadata until
it has settled, as the infraprocessor does by the traits.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openstack import exceptions as sdk
from openstack import utils

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import (
    base,
    nova_client,
    nova_listing,
    nova_network,
    nova_section,
    user_data,
)
from occo_celery.plugins.resourcehandler.nova_client import ask  # name: its many uses read as sentences

#: Servers that a page of a list shows at most, unless the cloud shows fewer.
PAGE = 1000
#: From this microversion on lists show also servers whose part of the cloud is down, if only their ids.
WHOLE_LISTS = "2.69"
#: Bytes of user data: Nova takes 65,535 characters of base64.
USER_DATA = 65_535 // 4 * 3


class NovaHandler(base.ResourceHandler):
    """One project at one endpoint, in one region."""

    # settle: a request may wait in front of the API and be carried out when nobody waits for it any more; what has
    # been carried out is listed at once. absence_grace: one list comes from several databases, merged.
    traits = base.Traits(idempotent=False, settle=120.0, absence_grace=15.0)
    schema = nova_section.NovaSection

    @classmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        return nova_section.account(section)

    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        if options:
            raise errors.ConfigurationError(f"resourcehandler nova has no options; there are: {', '.join(options)}")
        self._client = nova_client.Client(section, nova_section.credentials(account, auth))
        self._flavors: dict[str, str] = {}

    # --- making ---------------------------------------------------------------------------------------

    def create(self, creation: base.Creation) -> base.Seen:
        section = nova_section.valid(creation.section)
        if creation.environment or creation.command:
            raise errors.PermanentError(
                "nova: what runs on a server is told by contextualisation of type cloudinit, not docker"
            )
        told = _server(creation, section)
        deadline, secrets = time.monotonic() + creation.timeout, (creation.user_data or "",)
        ports: list[str] = []
        try:
            with self._client.calls(creation.timeout, write=True, secrets=secrets) as cloud:
                told["flavorRef"] = self._flavor(cloud, section.flavor_name)
                if section.floats:
                    label = nova_listing.label(creation.node_id, creation.infra_id)
                    port = nova_network.prepare(cloud.network, section, label, ports.append)
                    told["networks"] = [{"port": port}]
                    told.pop("security_groups", None)  # the port has them
                made = ask(cloud.compute, "POST", "/servers", json={"server": told})["server"]
        except errors.OutcomeUnknown:
            raise
        except errors.ResourceError:
            self._withdraw(ports, deadline)
            raise
        return base.Seen(
            node_id=creation.node_id,
            infra_id=creation.infra_id,
            instance_id=str(made["id"]),
            state=status.NodeStatus.PENDING,
            reason=status.Reason(code="build", since=time.time()),
        )

    def _flavor(self, cloud: Any, wanted: str) -> str:
        """The id of a flavor, by its name or id. Flavors cannot be changed, only made anew: ids are remembered."""
        if wanted not in self._flavors:
            known = ask(cloud.compute, "GET", "/flavors", params={"limit": PAGE})["flavors"]
            ids = {str(one["name"]): str(one["id"]) for one in known} | {
                str(one["id"]): str(one["id"]) for one in known
            }
            if wanted not in ids:
                raise errors.PermanentError(f"nova: there is no flavor {wanted!r}; there are: {_some(ids)}")
            self._flavors[wanted] = ids[wanted]
        return self._flavors[wanted]

    def _withdraw(self, ports: Sequence[str], deadline: float) -> None:
        """No server was made: give up what was made for it. Raises OutcomeUnknown if that may have failed."""
        self._flavors.clear()  # it may be what was refused: gone, and made anew under the same name
        for port in ports:
            try:
                self._free(nova_listing.PORT + port, deadline - time.monotonic())
            except errors.ResourceError as problem:
                raise errors.OutcomeUnknown(
                    f"nova: port {port} may be left, without a server: {problem}"
                ) from problem

    # --- ending ---------------------------------------------------------------------------------------

    def drop(self, instance_id: str, timeout: float) -> None:
        """A server, or what is left of one: its port with the floating address is listed when the server is gone."""
        if "/" in instance_id:
            self._free(instance_id, timeout)
            return
        with self._client.calls(timeout, write=True) as cloud:
            try:
                ask(cloud.compute, "DELETE", f"/servers/{instance_id}")
            except sdk.NotFoundException:
                return

    def _free(self, instance_id: str, timeout: float) -> None:
        with self._client.calls(timeout, write=True) as cloud:
            if instance_id.startswith(nova_listing.PORT):
                nova_network.free_port(cloud.network, instance_id.removeprefix(nova_listing.PORT))
            elif instance_id.startswith(nova_listing.ADDRESS):
                nova_network.free_address(cloud.network, instance_id.removeprefix(nova_listing.ADDRESS))

    # --- looking --------------------------------------------------------------------------------------

    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[base.Seen, ...]]:
        """Metadata cannot be asked for: the pages of all servers of the project are read, and the list of ports."""
        found: dict[str, tuple[base.Seen, ...]] = dict.fromkeys(node_ids, ())
        if found:
            with self._client.calls(timeout, write=False) as cloud:
                for one in self._listed(cloud):
                    if one.node_id in found:
                        found[one.node_id] += (one,)
        return found

    def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
        with self._client.calls(timeout, write=False) as cloud:
            found = self._listed(cloud) + nova_listing.left_over(nova_network.addresses(cloud.network))
        return tuple(one for one in found if infra_id in (None, one.infra_id))

    def logs(self, instance_id: str, lines: int, timeout: float) -> str:
        """The console of the server."""
        if lines <= 0 or "/" in instance_id:
            return ""
        with self._client.calls(timeout, write=False) as cloud:
            told = {"os-getConsoleOutput": {"length": lines}}
            text = ask(cloud.compute, "POST", f"/servers/{instance_id}/action", json=told)["output"]
        return "\n".join(text.splitlines()[-lines:])

    def _listed(self, cloud: Any) -> list[base.Seen]:
        """Ports first: of one that is listed, the server that was made after it is listed, too."""
        ports = nova_network.ports(cloud.network)
        return nova_listing.all_seen(_servers(cloud.compute), ports, time.time())


def _servers(compute: Any) -> Iterator[dict[str, Any]]:
    """All servers of the project. No filter: Nova leaves out of filtered lists what is in a part of the cloud that
    is down, and what is not listed is taken for gone.

    Only an empty page is the end. A server that is just being scheduled may be in two of Nova's databases; Nova shows
    it once, and the page is short then, without a link to the next, however many servers follow.
    """
    version = utils.maximum_supported_microversion(compute, WHOLE_LISTS)
    asked: dict[str, Any] = {"limit": PAGE}
    while page := ask(compute, "GET", "/servers/detail", params=asked, microversion=version)["servers"]:
        yield from page
        asked["marker"] = page[-1]["id"]


def _server(creation: base.Creation, section: nova_section.NovaSection) -> dict[str, Any]:
    """What Nova is told, but for what has to be asked for first."""
    text = creation.user_data and user_data.fitting(creation.user_data, USER_DATA, "Nova")
    told: dict[str, Any] = {
        "name": section.server_name or f"{creation.node_name}-{creation.node_id}",
        "metadata": {
            nova_listing.NODE_ID: creation.node_id,
            nova_listing.INFRA_ID: creation.infra_id,
            nova_listing.NODE_NAME: creation.node_name,
        },
    }
    optional = {
        "key_name": section.key_name,
        "user_data": text and base64.b64encode(text).decode(),
        "security_groups": [{"name": one} for one in section.security_groups],
        "networks": section.network_id and [{"uuid": section.network_id}],
    }
    told |= {key: value for key, value in optional.items() if value}
    if section.volume_size is None:
        return {**told, "imageRef": section.image_id}
    volume = {
        "boot_index": 0,
        "uuid": section.image_id,
        "source_type": "image",
        "destination_type": "volume",
        "volume_size": section.volume_size,
        "delete_on_termination": not section.volume_persist,
    }
    return {**told, "block_device_mapping_v2": [volume]}


def _some(names: Mapping[str, str]) -> str:
    """The first of what there is, for messages."""
    shown = list(itertools.islice(names, 20))
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "") or "none"
