"""Cinder's driver of volumes that hold nothing. Runs in OpenStack's own environment.

Nova's fake driver attaches whatever it is told of, so only Cinder's own records have to be right.
"""

from __future__ import annotations

from typing import Any

from cinder.volume import driver


class Driver(driver.VolumeDriver):  # type: ignore[misc]
    VERSION = "1"

    def check_for_setup_error(self) -> None:
        """Nothing is needed."""

    def _update_volume_stats(self) -> None:
        self._stats = {
            "volume_backend_name": "fake",
            "vendor_name": "occo",
            "driver_version": self.VERSION,
            "storage_protocol": "fake",
            "total_capacity_gb": 1000000,
            "free_capacity_gb": 1000000,
            "reserved_percentage": 0,
        }

    def create_volume(self, volume: Any) -> None: ...

    def clone_image(self, context: Any, volume: Any, *where: Any) -> tuple[dict[str, Any], bool]:
        """Says that the image is in the volume, so that Cinder does not copy it."""
        return {}, True

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None: ...

    def create_cloned_volume(self, volume: Any, source: Any) -> None: ...

    def extend_volume(self, volume: Any, size: int) -> None: ...

    def delete_volume(self, volume: Any) -> None: ...

    def create_snapshot(self, snapshot: Any) -> None: ...

    def delete_snapshot(self, snapshot: Any) -> None: ...

    def ensure_export(self, context: Any, volume: Any) -> None: ...

    def create_export(self, context: Any, volume: Any, connector: Any) -> None: ...

    def remove_export(self, context: Any, volume: Any) -> None: ...

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        return {"driver_volume_type": "fake", "data": {"volume_id": volume["id"]}}

    def terminate_connection(self, volume: Any, connector: Any, **options: Any) -> None: ...
