"""The cloud that other tests rely on does what they expect of it, and fails as they expect it to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from keystoneauth1 import exceptions as transport_errors
from openstack import exceptions

from tests.contract.cases import wait_until
from tests.openstack import seeds
from tests.openstack.cloud import Cloud, cloud

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(900),  # the first test waits until the cloud is up
    # the SDK warns of what it calls within itself
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack"),
]


@pytest.fixture
def bed() -> Iterator[Cloud]:
    bed = cloud()
    yield bed
    bed.remove_all()


@pytest.fixture
def user(bed: Cloud) -> Iterator[Any]:
    with bed.user_connection() as user:
        yield user


def boot(bed: Cloud, user: Any, flavor: str = seeds.TINY, **options: Any) -> Any:
    """A new server, when it is no longer being built."""
    wanted = {
        "name": "node",
        "image_id": bed.image_id,
        "networks": [{"uuid": bed.network_id}],
        "flavor_id": user.compute.find_flavor(flavor, ignore_missing=False).id,
        **options,
    }
    made = user.compute.create_server(**wanted)
    return wait_until(lambda: built(user, made.id), 120.0, "the server")


def built(user: Any, server_id: str) -> Any:
    server = user.compute.get_server(server_id)
    return None if server.status == "BUILD" else server


def addresses(server: Any, kind: str) -> list[str]:
    return [one["addr"] for one in server.addresses[seeds.NETWORK] if one["OS-EXT-IPS:type"] == kind]


def test_a_user_boots_a_server_that_gets_an_address(bed: Cloud, user: Any) -> None:
    server = boot(bed, user)
    assert server.status == "ACTIVE"
    [address] = addresses(server, "fixed")
    assert address.startswith("10.96.")


def test_an_ordinary_user_finds_servers_by_tags_and_metadata_of_their_creation(bed: Cloud, user: Any) -> None:
    first = boot(bed, user, metadata={"occo.node_id": "n1"}, tags=["infra-1", "node-1"])
    second = boot(bed, user, metadata={"occo.node_id": "n2"}, tags=["infra-1", "node-2"])
    found = {server.id: server for server in user.compute.servers(tags="infra-1")}
    assert set(found) == {first.id, second.id}
    assert found[first.id].metadata == {"occo.node_id": "n1"}
    assert sorted(found[second.id].tags) == ["infra-1", "node-2"]
    assert [server.id for server in user.compute.servers(tags="infra-1,node-2")] == [second.id]
    assert not list(user.compute.servers(tags="infra-2"))


def test_a_keypair_of_the_user_is_given_to_a_server(bed: Cloud, user: Any) -> None:
    user.compute.create_keypair(name="mine")
    assert boot(bed, user, key_name="mine").key_name == "mine"


def test_a_flavor_that_fits_on_no_host_ends_in_an_error(bed: Cloud, user: Any) -> None:
    server = boot(bed, user, flavor=seeds.HUGE)
    assert server.status == "ERROR"
    assert "No valid host" in server.fault["message"]


def test_an_exceeded_quota_is_forbidden(bed: Cloud, user: Any) -> None:
    bed.set_quota(instances=0)
    try:
        with pytest.raises(exceptions.ForbiddenException, match="Quota exceeded for instances") as refused:
            boot(bed, user)
    finally:
        bed.reset_quota()
    assert refused.value.status_code == 403
    assert boot(bed, user).status == "ACTIVE"


def test_a_server_has_the_floating_address_of_its_port(bed: Cloud, user: Any) -> None:
    port = user.network.create_port(network_id=bed.network_id)
    floating = user.network.create_ip(floating_network_id=bed.public_network_id, port_id=port.id)
    server = boot(bed, user, networks=[{"port": port.id}])
    assert addresses(server, "fixed") == [port.fixed_ips[0]["ip_address"]]
    assert addresses(server, "floating") == [floating.floating_ip_address]


def test_a_floating_address_that_comes_later_is_shown_soon(bed: Cloud, user: Any) -> None:
    server = boot(bed, user)
    [port] = user.network.ports(device_id=server.id)
    floating = user.network.create_ip(floating_network_id=bed.public_network_id, port_id=port.id)
    wait_until(
        lambda: addresses(user.compute.get_server(server.id), "floating") == [floating.floating_ip_address],
        30.0,
        "the floating address",
    )


def test_a_volume_that_a_server_was_booted_from_goes_with_it(bed: Cloud, user: Any) -> None:
    disk = {
        "boot_index": 0,
        "uuid": bed.image_id,
        "source_type": "image",
        "destination_type": "volume",
        "volume_size": 1,
        "delete_on_termination": True,
    }
    server = boot(bed, user, image_id="", block_device_mapping=[disk])
    assert server.status == "ACTIVE", server.fault
    [volume] = user.block_storage.volumes()
    assert (volume.status, volume.is_bootable) == ("in-use", True)
    user.compute.delete_server(server)
    wait_until(lambda: not list(user.block_storage.volumes()), 60.0, "an end of the volume")


def test_a_frozen_service_makes_calls_time_out_until_it_goes_on(bed: Cloud) -> None:
    with bed.user_connection(api_timeout=2) as user:
        user.compute.get("/servers")
        with bed.frozen("nova-api"):
            began = time.monotonic()
            with pytest.raises(transport_errors.ConnectTimeout):
                user.compute.get("/servers")
            assert 2 <= time.monotonic() - began < 30
        wait_until(lambda: answers(user), 60.0, "an answer")


def answers(user: Any) -> bool:
    try:
        return bool(user.compute.get("/servers").status_code == 200)
    except transport_errors.ConnectTimeout:
        return False
