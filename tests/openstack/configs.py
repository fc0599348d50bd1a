"""The configuration of each OpenStack service, as sections of options, and how it is written for oslo.config."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

PASSWORD = "pw"
REGION = "RegionOne"
AUTH_URL = "http://127.0.0.1:5000/v3"
#: The services behind their addresses; Keystone's catalogue is made of these.
ENDPOINTS = {
    "compute": "http://127.0.0.1:8774/v2.1",
    "placement": "http://127.0.0.1:8778",
    "image": "http://127.0.0.1:9292",
    "network": "http://127.0.0.1:9696",
    "block-storage": "http://127.0.0.1:8776/v3",
}
DATABASES = ("keystone", "placement", "glance", "neutron", "cinder", "nova", "nova_api", "nova_cell0")

Sections = Mapping[str, Mapping[str, object]]

#: How the services log in to each other: all of them as one user.
LOGIN = {
    "auth_type": "password",
    "auth_url": AUTH_URL,
    "username": "service",
    "password": PASSWORD,
    "project_name": "service",
    "user_domain_name": "Default",
    "project_domain_name": "Default",
    "region_name": REGION,
}
#: A service token may come with a user's: detaching volumes wants one.
TOKENS = {
    **LOGIN,
    "interface": "public",
    "www_authenticate_uri": AUTH_URL,
    "service_token_roles_required": True,
}
UNLIMITED = -1


def database(name: str) -> str:
    return f"mysql+pymysql://root@127.0.0.1:3306/{name}"


def write(folder: pathlib.Path, environment: pathlib.Path) -> None:
    """One file a service, in ``folder/etc``. environment: OpenStack's, where the packages put their paste files."""
    etc = folder / "etc"
    etc.mkdir()
    for name, sections in services(folder, environment / "etc").items():
        # Logs go where the process's other output goes: one file a service, even if it dies before it can log.
        common = {"use_stderr": True, "transport_url": "rabbit://guest:guest@127.0.0.1:5672/"}
        (etc / f"{name}.conf").write_text(_text({**sections, "DEFAULT": {**common, **sections.get("DEFAULT", {})}}))


def services(folder: pathlib.Path, pastes: pathlib.Path) -> dict[str, Sections]:
    return {
        "keystone": _keystone(folder),
        "glance-api": _glance(folder, pastes),  # Glance finds no other name
        "placement": {
            "api": {"auth_strategy": "keystone"},
            "placement_database": {"connection": database("placement")},
            "keystone_authtoken": TOKENS,
        },
        "neutron": _neutron(folder, pastes),
        "cinder": _cinder(folder, pastes),
        "nova": _nova(folder),
    }


def _keystone(folder: pathlib.Path) -> Sections:
    return {
        "database": {"connection": database("keystone")},
        "fernet_tokens": {"key_repository": folder / "keystone" / "fernet"},
        "credential": {"key_repository": folder / "keystone" / "credential"},
        "identity": {"password_hash_rounds": 4},  # the fewest that bcrypt takes
    }


def _glance(folder: pathlib.Path, pastes: pathlib.Path) -> Sections:
    stores = {"fs": "images", "os_glance_staging_store": "staging", "os_glance_tasks_store": "tasks"}
    return {
        "DEFAULT": {"enabled_backends": "fs:file"},
        "glance_store": {"default_backend": "fs"},
        "database": {"connection": database("glance")},
        "keystone_authtoken": TOKENS,
        "paste_deploy": {"flavor": "keystone", "config_file": pastes / "glance" / "glance-api-paste.ini"},
        **{store: {"filesystem_store_datadir": folder / "glance" / place} for store, place in stores.items()},
    }


def _neutron(folder: pathlib.Path, pastes: pathlib.Path) -> Sections:
    limited = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
    return {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": "router",
            "auth_strategy": "keystone",
            "api_paste_config": pastes / "neutron" / "api-paste.ini",
            "state_path": folder / "neutron",
            "rpc_workers": 0,
            "dhcp_agent_notification": False,
            # so that Nova shows a floating address soon
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,
            "send_events_interval": 1,
        },
        "ml2": {
            "type_drivers": "local",
            "tenant_network_types": "local",
            "mechanism_drivers": "occobind",
            "extension_drivers": "port_security",
        },
        "nova": LOGIN,
        "placement": LOGIN,
        "database": {"connection": database("neutron")},
        "keystone_authtoken": TOKENS,
        "oslo_concurrency": {"lock_path": folder / "neutron" / "lock"},
        "quotas": {f"quota_{name}": UNLIMITED for name in limited},
    }


def _cinder(folder: pathlib.Path, pastes: pathlib.Path) -> Sections:
    limited = ("volumes", "snapshots", "gigabytes", "per_volume_gigabytes")
    return {
        "DEFAULT": {
            "auth_strategy": "keystone",
            "api_paste_config": pastes / "cinder" / "api-paste.ini",
            "resource_query_filters_file": pastes / "cinder" / "resource_filters.json",
            "state_path": folder / "cinder",
            "my_ip": "127.0.0.1",
            "host": "fake1",
            "enabled_backends": "fake",
            "glance_api_servers": ENDPOINTS["image"],
            **{f"quota_{name}": UNLIMITED for name in limited},
        },
        "fake": {"volume_driver": "occovolume.Driver", "volume_backend_name": "fake"},
        "database": {"connection": database("cinder")},
        "keystone_authtoken": TOKENS,
        "service_user": {"send_service_user_token": True, **LOGIN},
        "nova": LOGIN,
        "oslo_concurrency": {"lock_path": folder / "cinder" / "lock"},
        "coordination": {"backend_url": f"file://{folder / 'cinder'}"},
    }


def _nova(folder: pathlib.Path) -> Sections:
    limited = ("instances", "cores", "ram", "key_pairs", "server_groups", "server_group_members")
    return {
        "DEFAULT": {
            "compute_driver": "fake.FakeDriver",
            "my_ip": "127.0.0.1",
            "host": "fake1",
            "state_path": folder / "nova",
            "enabled_apis": "osapi_compute",
            "periodic_fuzzy_delay": 0,
            "block_device_allocate_retries_interval": 1,
        },
        "api": {"auth_strategy": "keystone"},
        "api_database": {"connection": database("nova_api")},
        "database": {"connection": database("nova")},
        "keystone_authtoken": TOKENS,
        "service_user": {"send_service_user_token": True, **LOGIN},
        "placement": LOGIN,
        "neutron": LOGIN,
        "glance": LOGIN,
        "cinder": {"catalog_info": "block-storage::publicURL", **LOGIN},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 2},
        "vnc": {"enabled": False},
        "oslo_concurrency": {"lock_path": folder / "nova" / "lock"},
        "quota": dict.fromkeys(limited, UNLIMITED),
    }


def _text(sections: Sections) -> str:
    lines: list[str] = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items()), ""]
    return "\n".join(lines)
