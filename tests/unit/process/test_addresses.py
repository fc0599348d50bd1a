"""Leases of loopback addresses: unique, the lowest free one, held until the node is forgotten."""

from __future__ import annotations

import concurrent.futures
import pathlib

import pytest

from occo_celery import errors
from occo_celery.plugins.resourcehandler import process_addresses
from tests.unit.process import world as worlds

NETWORK = "127.77.9.0/30"  # .1, .2 and .3


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(path: pathlib.Path, network: str = NETWORK, clock: Clock | None = None) -> process_addresses.Addresses:
    return process_addresses.Addresses(
        path / "addresses.sqlite", process_addresses.loopback(network), clock or Clock()
    )


def test_the_lowest_free_one_until_there_are_none(tmp_path: pathlib.Path) -> None:
    addresses = make(tmp_path)
    assert [addresses.lease(n, ()) for n in ("a", "b", "c", "b")] == [f"127.77.9.{n}" for n in (1, 2, 3, 2)]
    with pytest.raises(errors.CapacityError, match=r"127\.77\.9\.0/30"):
        addresses.lease("d", ())
    addresses.end("b")
    with pytest.raises(errors.CapacityError):
        addresses.lease("d", ())
    addresses.forget("b")
    assert make(tmp_path).lease("d", ()) == "127.77.9.2"


def test_network_and_broadcast_like_addresses_are_skipped(tmp_path: pathlib.Path) -> None:
    addresses = make(tmp_path, "127.77.8.254/31")
    assert addresses.lease("a", ()) == "127.77.8.254"
    with pytest.raises(errors.CapacityError):
        addresses.lease("b", ())
    assert make(tmp_path, "127.77.7.0/24").lease("c", ()) == "127.77.7.1"


def test_what_another_installation_uses_is_avoided(tmp_path: pathlib.Path) -> None:
    assert make(tmp_path).lease("a", {"127.77.9.1", "no address"}) == "127.77.9.2"


def test_a_node_that_never_ran_gives_its_address_back(tmp_path: pathlib.Path) -> None:
    addresses = make(tmp_path)
    addresses.lease("a", ())
    addresses.release("a")
    assert not addresses.has_ended("a")
    assert addresses.lease("b", ()) == "127.77.9.1"


def test_what_has_ended_is_remembered_for_a_week(tmp_path: pathlib.Path, clock: Clock) -> None:
    addresses = make(tmp_path, clock=clock)
    addresses.lease("a", ())
    addresses.end("a")
    clock.now += 8 * 86400
    addresses.forget("never made")
    assert addresses.has_ended("a"), "it was not forgotten yet"
    addresses.forget("a")
    assert not addresses.has_ended("a")
    assert addresses.has_ended("never made")
    clock.now += 8 * 86400
    addresses.forget("b")
    assert not addresses.has_ended("never made")


def test_leases_of_many_at_once_are_unique_from_the_first(tmp_path: pathlib.Path) -> None:
    """The file is made by whoever comes first."""

    def lease(number: int) -> str:
        return make(tmp_path, "127.77.0.0/16").lease(f"n{number}", ())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lease, range(40)))) == 40
    results = [worlds.in_child(lambda n=n: [lease(100 + 10 * n + m) for m in range(10)]) for n in range(8)]
    assert [worlds.exit_code(child) for child in results] == [0] * 8
    assert make(tmp_path, "127.77.0.0/16").lease("last", ()) == "127.77.0.121"


def test_processes_that_make_a_new_file_together(tmp_path: pathlib.Path) -> None:
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        children = [
            worlds.in_child(lambda f=folder, n=n: make(f, "127.77.0.0/16").lease(f"n{n}", ())) for n in range(4)
        ]
        assert [worlds.exit_code(child) for child in children] == [0] * 4


def test_a_file_that_cannot_be_used_is_transient(tmp_path: pathlib.Path) -> None:
    (tmp_path / "addresses.sqlite").write_text("this is no database, whatever it is called " * 100)
    with pytest.raises(errors.TransientError, match=r"addresses\.sqlite: "):
        make(tmp_path).lease("a", ())


def test_an_address_that_the_host_does_not_have() -> None:
    process_addresses.check("127.77.0.1")
    with pytest.raises(errors.TransientError, match="ifconfig lo0 alias"):
        process_addresses.check("192.0.2.1")


def test_a_node_holds_its_address_until_it_is_forgotten(world: worlds.World) -> None:
    world.options["network"] = f"{worlds.NETWORK}.0/30"
    handler = world.handler()
    made = [handler.create(world.creation(f"n{number}")) for number in range(3)]
    assert [seen.addresses[0] for seen in made] == [f"{worlds.NETWORK}.{n}" for n in (1, 2, 3)]
    with pytest.raises(errors.CapacityError):
        handler.create(world.creation("n3"))
    world.drop_all(handler, "n1")
    with pytest.raises(errors.CapacityError):
        handler.create(world.creation("n3"))
    handler.forget("n1")
    assert handler.create(world.creation("n3")).addresses == (f"{worlds.NETWORK}.2",)
    handler.forget("n1")
