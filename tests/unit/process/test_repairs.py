"""What must hold also when files are lost or many make them at the same moment."""

from __future__ import annotations

import pathlib
import shutil
import sqlite3
import threading

import pytest

from occo_celery import errors
from occo_celery.plugins.resourcehandler import process, process_addresses
from tests.unit.process import world as worlds


def test_what_was_dropped_without_a_record_is_not_made_again(world: worlds.World) -> None:
    handler = world.handler()
    handler.create(world.creation())
    shutil.rmtree(world.root)
    world.drop_all(handler)
    with pytest.raises(errors.PermanentError, match="was dropped"):
        world.handler().create(world.creation())
    assert not world.running()
    assert not (world.root / "n1").exists()
    handler.forget("n1")


def test_a_drop_of_another_process_than_the_unrecorded_one_ends_nothing(world: worlds.World) -> None:
    handler = world.handler()
    made = handler.create(world.creation())
    world.record_path().unlink()
    handler.drop("n1:1:1", 5.0)
    assert [seen.instance_id for seen in handler.observe(["n1"], 5.0)["n1"]] == [made.instance_id]
    assert (world.root / "n1").exists()


def test_the_switch_to_wal_waits_for_others(tmp_path: pathlib.Path) -> None:
    """SQLite itself would say `locked` at once, whatever the timeout, where two switch at the same moment."""
    path = tmp_path / "addresses.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE others (a)")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO others VALUES (1)")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    addresses = process_addresses.Addresses(path, process_addresses.loopback("127.77.0.0/16"))
    assert addresses.lease("a", ()) == "127.77.0.1"
    release.join()
    other.close()


def test_a_listing_is_exact() -> None:
    """Nothing has to be waited for before what is not listed is believed to be gone."""
    assert process.ProcessHandler.traits.idempotent
    assert process.ProcessHandler.traits.absence_grace == 0.0


def test_what_was_left_half_written_keeps_no_secret(world: worlds.World) -> None:
    """A worker died while it wrote the context; then its node was given up."""
    handler = world.handler()
    with handler._folders.lock("n1", 5.0):
        handler._folders.make("n1", "", "")
    (world.root / "n1" / "context.draft").write_text("hunter2")
    handler.forget("n1")
    texts = [path.read_bytes() for path in world.root.rglob("*") if path.is_file()]
    assert not any(b"hunter2" in text for text in texts)
