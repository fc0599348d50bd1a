"""What a cloud's administrator makes before its users come: accounts, the catalogue, flavors, an image, networks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.openstack import configs

TINY, HUGE, IMAGE = "m1.tiny", "huge", "tiny"
NETWORK, PUBLIC = "occonet", "public"


@dataclass(frozen=True, slots=True)
class Account:
    username: str
    password: str
    project: str

    def login(self) -> dict[str, str]:
        """As the SDK and clouds.yaml want it."""
        return {
            "username": self.username,
            "password": self.password,
            "project_name": self.project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }


@dataclass(frozen=True, slots=True)
class Seeded:
    project_id: str = ""
    network_id: str = ""
    public_network_id: str = ""
    image_id: str = ""


def make_accounts(admin: Any, user: Account) -> None:
    """The catalogue, the user as whom the services speak to each other, and the ordinary user."""
    for kind, url in configs.ENDPOINTS.items():
        service = admin.identity.create_service(name=kind, type=kind)
        admin.identity.create_endpoint(service_id=service.id, interface="public", url=url, region_id=configs.REGION)
    _make_account(admin, Account("service", configs.PASSWORD, "service"), ("admin", "service"))
    _make_account(admin, user, ("member",))


def _make_account(admin: Any, account: Account, roles: tuple[str, ...]) -> None:
    project = admin.identity.create_project(name=account.project, domain_id="default")
    made = admin.identity.create_user(name=account.username, password=account.password, domain_id="default")
    for name in roles:
        role = admin.identity.find_role(name, ignore_missing=False)
        admin.identity.assign_project_role_to_user(project.id, made.id, role.id)


def make_resources(admin: Any, user: Account) -> Seeded:
    project = admin.identity.find_project(user.project, ignore_missing=False)
    admin.compute.create_flavor(name=TINY, ram=64, vcpus=1, disk=1)
    admin.compute.create_flavor(name=HUGE, ram=99999999, vcpus=1, disk=1)
    image = admin.image.create_image(
        name=IMAGE, disk_format="raw", container_format="bare", visibility="public", data=b"\0" * 1024
    )
    public = admin.network.create_network(name=PUBLIC, is_router_external=True)
    _make_subnet(admin, public, "10.97.0.0/20")
    network = admin.network.create_network(name=NETWORK, project_id=project.id)
    subnet = _make_subnet(admin, network, "10.96.0.0/20", project_id=project.id)
    router = admin.network.create_router(
        name="router", project_id=project.id, external_gateway_info={"network_id": public.id}
    )
    admin.network.add_interface_to_router(router, subnet=subnet)
    return Seeded(project.id, network.id, public.id, image.id)


def _make_subnet(admin: Any, network: Any, cidr: str, **options: str) -> Any:
    return admin.network.create_subnet(
        name=network.name, network_id=network.id, ip_version=4, cidr=cidr, is_dhcp_enabled=False, **options
    )


def has_hosts(admin: Any) -> bool:
    """Whether a compute host is up and known to the scheduler."""
    up = [service for service in admin.compute.services(binary="nova-compute") if service.state == "up"]
    return bool(up) and bool(list(admin.compute.hypervisors()))


def can_boot(user: Any, seeded: Seeded) -> bool:
    """Whether a server becomes active; the first ones do not while the host's inventory is not there yet."""
    flavor = user.compute.find_flavor(TINY, ignore_missing=False)
    server = user.compute.create_server(
        name="first", flavor_id=flavor.id, image_id=seeded.image_id, networks=[{"uuid": seeded.network_id}]
    )
    try:
        while (server := user.compute.get_server(server.id)).status == "BUILD":
            time.sleep(0.2)
        return bool(server.status == "ACTIVE")
    finally:
        user.compute.delete_server(server)
        user.compute.wait_for_delete(server, interval=0.2, wait=60)


def remove_all(user: Any, seeded: Seeded) -> None:
    """All that belongs to the ordinary user's project, except what was made here."""
    servers = list(user.compute.servers())
    for server in servers:
        user.compute.delete_server(server)
    for server in servers:
        user.compute.wait_for_delete(server, interval=0.2, wait=60)
    for address in user.network.ips():
        user.network.delete_ip(address)
    for port in user.network.ports(network_id=seeded.network_id):
        if not port.device_owner.startswith("network:"):
            user.network.delete_port(port)
    for keypair in user.compute.keypairs():
        user.compute.delete_keypair(keypair)
    for volume in user.block_storage.volumes():
        if volume.status in ("available", "error"):  # what goes with its server is on its way
            user.block_storage.delete_volume(volume)
