"""User data within a cloud's limit."""

from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.plugins.resourcehandler import user_data

LIMIT = 200


@given(st.text(max_size=300))
def test_what_is_sent_is_within_the_limit_and_reads_as_it_was_written(text: str) -> None:
    try:
        sent = user_data.fitting(text, LIMIT, "a cloud")
    except errors.PermanentError:
        assert len(gzip.compress(text.encode())) > LIMIT
        return
    assert len(sent) <= LIMIT
    assert (sent if sent == text.encode() else gzip.decompress(sent)) == text.encode()


def test_what_fits_is_not_compressed() -> None:
    assert user_data.fitting("a" * LIMIT, LIMIT, "a cloud") == b"a" * LIMIT


def test_the_same_text_is_sent_as_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = user_data.fitting("a" * 1000, LIMIT, "a cloud")
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert user_data.fitting("a" * 1000, LIMIT, "a cloud") == first


def test_what_does_not_fit_is_refused_by_its_sizes() -> None:
    text = random.Random(1).randbytes(1000).hex()
    with pytest.raises(errors.PermanentError, match=r"2,000 bytes, 1,\d+ of them when compressed") as caught:
        user_data.fitting(text, LIMIT, "a cloud")
    assert "a cloud takes 200" in str(caught.value)
    assert text[:20] not in str(caught.value)
