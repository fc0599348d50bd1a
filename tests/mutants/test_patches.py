"""Every patch still fits the code: `make mutants` itself is too slow for each change."""

from __future__ import annotations

import pathlib

import pytest

import occo_celery
from tests.mutants.patches import MUTANTS, Mutant

PACKAGE = pathlib.Path(occo_celery.__file__).parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=[one.name for one in MUTANTS])
def test_it_fits(mutant: Mutant) -> None:
    text = (PACKAGE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
