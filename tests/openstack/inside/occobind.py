"""Neutron's driver of networks without agents: every port is bound at once. Runs in OpenStack's own environment."""

from __future__ import annotations

from typing import Any

from neutron_lib.plugins.ml2 import api

DETAILS = {"port_filter": False, "bridge_name": "br-int", "ovs_hybrid_plug": False, "datapath_type": "system"}


class Driver(api.MechanismDriver):  # type: ignore[misc]
    def initialize(self) -> None:
        """There is nothing to connect with."""

    def bind_port(self, context: Any) -> None:
        segment = next(iter(context.segments_to_bind), None)
        if segment is not None:
            context.set_binding(segment[api.ID], "ovs", DETAILS, status="ACTIVE")
