"""How long the answer of a web service asks one to wait. Called by the handlers that read answers themselves.

Source: RFC 9110, section 10.2.3, "Retry-After".
"""

from __future__ import annotations

import email.utils
import math

#: More than this is not waited for, seconds: whoever asks for days may be mistaken, and asking again costs little.
LONGEST = 3600.0


def seconds(header: str | None, now: float) -> float | None:
    """The seconds that a Retry-After, a number or a date, asks for; None where there is none that can be read.

    now: seconds since the epoch.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST)
    try:
        asked = email.utils.parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, math.ceil(asked)), LONGEST)
