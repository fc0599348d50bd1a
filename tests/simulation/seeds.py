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
#: Half of them on each kind of cloud.
FIXED = tuple(range(10_000, 10_500))
#: A few, and shorter, on PostgreSQL: each statement is a step there, and takes its time.
FIXED_POSTGRESQL = tuple(range(20_000, 20_004))
