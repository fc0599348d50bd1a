"""How a Retry-After is read."""

from __future__ import annotations

import pytest

from occo_celery.plugins.resourcehandler import retry_after

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2038 08:00:00 GMT", 3600.0),
        ("9" * 400, 3600.0),
        ("-1", None),
        ("soon", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_numbers_and_dates(header: str | None, seconds: float | None) -> None:
    assert retry_after.seconds(header, NOW) == seconds
