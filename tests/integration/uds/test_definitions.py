"""Definitions with secrets that are written out: what is stored, and that importing them again changes nothing."""

from __future__ import annotations

import base64
import json
import logging
import os
import pathlib
from typing import Any

import pytest
import sqlalchemy as sa

from occo_celery import errors, settings, wiring
from occo_celery.api.manager import InfrastructureManager
from occo_celery.uds import definitions
from occo_celery.uds.store import Store

PASSWORD = "hunter2-8fJq2vXw"


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def manager(store: Store, *keys: str) -> InfrastructureManager:
    config = settings.Settings(
        source="test", home=pathlib.Path(), uds_url="", broker_url="redis://", encryption_keys=keys
    )
    return InfrastructureManager(system=wiring.System(config, store=store))


def written(folder: pathlib.Path, *passwords: str) -> pathlib.Path:
    """A file with one implementation for each password."""
    path = folder / "definitions.yaml"
    databases = [{"name": "shop", "user": "ann", "pass": one} for one in passwords]
    path.write_text(
        json.dumps(
            {
                "node_def:web": [
                    {"resource": {"type": "simulated"}, "health_check": {"mysqldbs": [one]}} for one in databases
                ]
            }
        )
    )
    return path


def stored(store: Store) -> list[dict[str, Any]]:
    with store.read() as connection:
        return definitions.load(connection)["web"]


def password(implementation: dict[str, Any]) -> Any:
    return implementation["health_check"]["mysqldbs"][0]["pass"]


def test_what_is_stored_is_encrypted(store: Store, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    importing = manager(store, key())
    with caplog.at_level(logging.DEBUG):
        importing.import_definitions(written(tmp_path, PASSWORD))
    (one,) = stored(store)
    assert importing._system.encryption.decrypt(password(one)["encrypted"]) == PASSWORD
    assert "a secret is written here and will be stored encrypted" in caplog.text
    assert PASSWORD not in caplog.text
    with store.read() as connection:
        rows = str(connection.execute(sa.text("SELECT * FROM node_definitions")).all())
    assert PASSWORD not in rows


def test_importing_again_changes_nothing_but_what_was_changed(store: Store, tmp_path: pathlib.Path) -> None:
    importing = manager(store, key())
    importing.import_definitions(written(tmp_path, PASSWORD, "other", PASSWORD))
    first = stored(store)
    importing.import_definitions(written(tmp_path, PASSWORD, "other", PASSWORD))
    assert stored(store) == first
    importing.import_definitions(written(tmp_path, "other", PASSWORD, "another"))
    second = stored(store)
    assert second[:2] == [first[1], first[0]]
    assert second[2] not in first
    assert password(first[0]) != password(first[2]), "nobody sees which are the same"


def test_a_new_key_takes_the_place_of_the_old_one_by_importing_again(store: Store, tmp_path: pathlib.Path) -> None:
    old, new = key(), key()
    manager(store, old).import_definitions(written(tmp_path, PASSWORD))
    manager(store, new, old).import_definitions(written(tmp_path, PASSWORD))
    (one,) = stored(store)
    assert manager(store, new)._system.encryption.decrypt(password(one)["encrypted"]) == PASSWORD


def test_without_a_key_nothing_is_stored(store: Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.SchemaError, match="a secret must not be written here"):
        manager(store).import_definitions(written(tmp_path, PASSWORD))
    with store.read() as connection:
        assert definitions.load(connection) == {}
