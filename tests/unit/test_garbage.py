"""The search for garbage is put off while something is built, and is as it was afterwards."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from occo_celery import garbage
from occo_celery.compiler import compile as compiler
from occo_celery.compiler import source


@pytest.fixture(autouse=True)
def _searching() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_put_off_until_the_outer_block_has_ended() -> None:
    with garbage.put_off():
        with garbage.put_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_searched_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), garbage.put_off():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_put_off_until_the_blocks_of_other_threads_have_ended() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with garbage.put_off():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with garbage.put_off():
        thread.start()
        assert entered.wait(60)
    assert not gc.isenabled()
    leave.set()
    thread.join(60)
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off() -> None:
    gc.disable()
    with garbage.put_off():
        pass
    assert not gc.isenabled()


def test_not_searched_while_a_description_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    read_text = source.read_text

    def read(text: str) -> object:
        seen.append(gc.isenabled())
        return read_text(text)

    monkeypatch.setattr(source, "read_text", read)
    text = "infra_name: one\nnodes: [{name: a, type: server}]\n"
    compiler.compile_description(text, infra_id="i", definitions={"server": [{"resource": {"type": "simulated"}}]})
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.parametrize(
    "code",
    [
        "from occo_celery.cli import main; sys.argv = ['occo', '--version']; main.run()",
        "from occo_celery.tasks import entry; entry.make_worker_app()",
    ],
)
def test_our_programs_search_seldom(code: str, tmp_path: pathlib.Path) -> None:
    code = f"import gc, sys\ntry: {code}\nexcept SystemExit: pass\nassert gc.get_threshold() == {garbage.SELDOM}"
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)


def test_what_a_worker_loads_is_never_searched() -> None:
    code = "import gc\nfrom occo_celery import wiring\nwiring.load_all()\nassert gc.get_freeze_count() > 10_000"
    subprocess.run([sys.executable, "-c", code], check=True)
