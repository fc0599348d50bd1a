"""Values on their way into rows."""

from __future__ import annotations

import pytest

from occo_celery.uds import rows, tables


def test_what_is_no_column_is_refused() -> None:
    assert rows.of_table(tables.operations, {"due": 1.0, "tried": []}) == {"due": 1.0, "tried": []}
    with pytest.raises(KeyError, match="doubt_untl"):
        rows.of_table(tables.operations, {"doubt_untl": 1.0})
