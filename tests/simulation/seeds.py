"""The seeds that CI runs, always the same; those that once failed come first and stay.

Fresh seeds are for `make simulate`.
"""

from __future__ import annotations

#: (seed, mode): what each once found stands beside it.
ONCE_FAILED = (
    (1, "tokens"),  # a refusal of a repeated creation forgot what an earlier call had made: a twin
    (9, "no_tokens"),  # looking a creation up prolonged its doubt: it was never tried again
    (12, "tokens"),  # create_timeout counted from the first attempt: a booting instance was given up
)
#: On SQLite, and on PostgreSQL with transactions that interleave; half of each on either kind of cloud.
FIXED = range(10_000, 10_400)
INTERLEAVED = range(10_400, 10_500)
