"""Servers as the section says, floating addresses and volumes that are freed, lists; against a real OpenStack."""

from __future__ import annotations

import base64
import gzip
import os
import uuid

import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import nova
from tests.contract.cases import wait_until
from tests.integration.nova.conftest import MARKS, TIMEOUT, World
from tests.openstack import seeds

pytestmark = MARKS


@pytest.fixture
def node_id() -> str:
    return str(uuid.uuid4())


def test_a_server_is_what_the_section_says(world: World, node_id: str) -> None:
    world.user.compute.create_keypair(name="operators")
    world.user.network.create_security_group(name="web")
    told = {"server_name": "shop-web", "key_name": "operators", "security_groups": ["web"]}
    handler = world.handler()
    made = handler.create(world.creation(node_id, **told))
    ready = world.wait_ready(handler, node_id)
    server = world.server(made)
    assert (server.name, server.key_name) == ("shop-web", "operators")
    assert server.metadata == {"occo_node_id": node_id, "occo_infra_id": "shop", "occo_node_name": "web"}
    assert [one["name"] for one in server.security_groups] == ["web"]
    assert ready.addresses == tuple(one["addr"] for one in server.addresses[seeds.NETWORK])
    world.end(handler, node_id)
    world.user.network.delete_security_group(world.user.network.find_security_group("web", ignore_missing=False))


def test_large_user_data_arrive_compressed(world: World, node_id: str) -> None:
    text = "#cloud-config\n" + "# a long comment\n" * 8000
    made = world.handler().create(world.creation(node_id, user_data=text))
    with world.cloud.connection() as admin:
        sent = base64.b64decode(admin.compute.get_server(made.instance_id).user_data)
    assert gzip.decompress(sent).decode() == text
    with pytest.raises(errors.PermanentError, match="and Nova takes 49,149"):
        world.handler().create(world.creation(node_id, user_data="#" + base64.b64encode(os.urandom(90_000)).decode()))


def test_a_floating_address_comes_first_and_is_freed(world: World, node_id: str) -> None:
    world.user.network.create_security_group(name="web")
    handler = world.handler()
    handler.create(world.creation(node_id, floating_ip="add_yes", security_groups=["web"]))
    ready = world.wait_ready(handler, node_id)
    (floating,) = world.addresses()
    assert ready.addresses == (floating.floating_ip_address, floating.fixed_ip_address)
    (port,) = world.ports()
    assert [world.user.network.get_security_group(one).name for one in port.security_group_ids] == ["web"]
    world.end(handler, node_id)
    assert world.is_empty()
    world.user.network.delete_security_group(world.user.network.find_security_group("web", ignore_missing=False))


def test_what_is_left_of_a_server_is_listed_until_it_is_dropped(world: World, node_id: str) -> None:
    handler = world.handler()
    made = handler.create(world.creation(node_id, floating_ip_pool=seeds.PUBLIC))
    world.wait_ready(handler, node_id)
    world.user.compute.delete_server(made.instance_id)
    world.user.compute.wait_for_delete(world.user.compute.get_server(made.instance_id), interval=0.1)
    (left,) = handler.observe([node_id], TIMEOUT)[node_id]
    assert (left.instance_id, left.state) == (f"port/{world.ports()[0].id}", status.NodeStatus.FAILED)
    assert handler.sweep("shop", TIMEOUT) == (left,)
    handler.drop(left.instance_id, TIMEOUT)
    handler.drop(left.instance_id, TIMEOUT)
    assert handler.observe([node_id], TIMEOUT)[node_id] == ()
    assert world.is_empty()


def test_a_port_that_a_server_has_is_not_taken_from_it(world: World, node_id: str) -> None:
    handler = world.handler()
    handler.create(world.creation(node_id, floating_ip=True))
    world.wait_ready(handler, node_id)
    (port,), (address,) = world.ports(), world.addresses()
    handler.drop(f"port/{port.id}", TIMEOUT)
    handler.drop(f"floating_ip/{address.id}", TIMEOUT)
    assert [one.id for one in world.ports()] == [port.id]
    assert [one.id for one in world.addresses()] == [address.id]


def test_a_floating_address_whose_port_is_gone_is_swept(world: World, node_id: str) -> None:
    handler = world.handler()
    made = handler.create(world.creation(node_id, floating_ip=True))
    world.wait_ready(handler, node_id)
    world.user.compute.delete_server(made.instance_id)
    world.user.compute.wait_for_delete(world.user.compute.get_server(made.instance_id), interval=0.1)
    for port in world.ports():
        world.user.network.delete_port(port)
    assert handler.observe([node_id], TIMEOUT)[node_id] == ()
    (left,) = handler.sweep(None, TIMEOUT)
    assert (left.node_id, left.infra_id) == (node_id, "shop")
    handler.drop(left.instance_id, TIMEOUT)
    handler.drop(left.instance_id, TIMEOUT)
    assert handler.sweep(None, TIMEOUT) == ()
    assert world.is_empty()


def test_what_an_attempt_that_died_has_prepared_is_used_by_the_next(
    world: World, node_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, dies = world.handler(), world.handler()
    monkeypatch.setattr(dies, "_withdraw", lambda *_: None)
    with pytest.raises(errors.PermanentError):
        dies.create(world.creation(node_id, floating_ip=True, image_id=str(uuid.uuid4())))
    (port,), (address,) = world.ports(), world.addresses()
    handler.create(world.creation(node_id, floating_ip=True))
    world.wait_ready(handler, node_id)
    assert ([one.id for one in world.ports()], [one.id for one in world.addresses()]) == ([port.id], [address.id])


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_id": str(uuid.uuid4())},
        {"flavor_name": "m9.none"},
        {"key_name": "nobodys"},
        {"floating_ip_pool": "none"},
        {"network_id": str(uuid.uuid4())},
        {"security_groups": ["none"]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_nothing_is_left_of_what_was_refused(world: World, node_id: str, wrong: dict[str, object]) -> None:
    with pytest.raises(errors.PermanentError):
        world.handler().create(world.creation(node_id, **{"floating_ip": True, **wrong}))
    assert world.is_empty()


def test_the_only_network_need_not_be_named(world: World, node_id: str) -> None:
    handler = world.handler()
    handler.create(world.creation(node_id, floating_ip=True, network_id=None))
    assert len(world.wait_ready(handler, node_id).addresses) == 2
    second = world.user.network.create_network(name="second")
    with pytest.raises(errors.PermanentError, match=r"has 2 networks: .*second.*; name one by network_id"):
        handler.create(world.creation(str(uuid.uuid4()), floating_ip=True, network_id=None))
    world.user.network.create_subnet(network_id=second.id, ip_version=4, cidr="10.98.0.0/24")
    with pytest.raises(errors.PermanentError, match="network"):  # without an address Nova would choose
        handler.create(world.creation(str(uuid.uuid4()), network_id=None))
    world.user.network.delete_network(second)


@pytest.mark.parametrize("persist", [False, True])
def test_a_volume_goes_with_its_server_unless_it_is_to_stay(world: World, node_id: str, persist: bool) -> None:
    handler = world.handler()
    handler.create(world.creation(node_id, volume_size=1, volume_persist="yes" if persist else "no"))
    world.wait_ready(handler, node_id)
    (volume,) = world.volumes()
    assert volume.size == 1
    world.end(handler, node_id)
    if persist:
        wait_until(lambda: [one.status for one in world.volumes()] == ["available"], 20.0, "the volume free")
    else:
        wait_until(lambda: world.volumes() == [], 20.0, "the volume gone")


def test_a_server_that_finds_no_host_is_failed_with_novas_reason(world: World, node_id: str) -> None:
    handler = world.handler()
    handler.create(world.creation(node_id, flavor_name=seeds.HUGE))

    def failed() -> str | None:
        (one,) = handler.observe([node_id], TIMEOUT)[node_id]
        return one.reason.text() if one.state is status.NodeStatus.FAILED else None

    assert "No valid host was found" in str(wait_until(failed, 30.0, "its failure"))
    world.end(handler, node_id)


def test_every_page_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova, "PAGE", 2)
    handler = world.handler()
    handler._flavors[seeds.TINY] = world.user.compute.find_flavor(
        seeds.TINY, ignore_missing=False
    ).id  # of which there is a page, too
    node_ids = [str(uuid.uuid4()) for _ in range(5)]
    made = {handler.create(world.creation(one)).instance_id for one in node_ids}
    found = handler.observe(node_ids, TIMEOUT)
    assert {one.instance_id for some in found.values() for one in some} == made
    assert {one.instance_id for one in handler.sweep("shop", TIMEOUT)} == made


def test_servers_of_others_are_left_out(world: World) -> None:
    flavor = world.user.compute.find_flavor(seeds.TINY, ignore_missing=False)
    told = {"flavor_id": flavor.id, "image_id": world.cloud.image_id, "networks": [{"uuid": world.cloud.network_id}]}
    world.user.compute.create_server(name="mail", **told)
    assert world.handler().sweep(None, TIMEOUT) == ()


def test_the_console_is_read(world: World, node_id: str) -> None:
    handler = world.handler()
    made = handler.create(world.creation(node_id))
    world.wait_ready(handler, node_id)
    whole = handler.logs(made.instance_id, 100, TIMEOUT).splitlines()
    assert whole
    assert handler.logs(made.instance_id, 1, TIMEOUT).splitlines() == whole[-1:]
    assert handler.logs(made.instance_id, 0, TIMEOUT) == ""
