"""User data within the limit of a cloud. Called by the handlers of clouds that pass it on to cloud-init.

cloud-init reads what is compressed with gzip as if it were not ("User data formats" in its documentation).
"""

from __future__ import annotations

import gzip

from occo_celery import errors


def fitting(text: str, limit: int, cloud: str) -> bytes:
    """The text as it is to be sent: compressed if it is larger than the limit (bytes) otherwise.

    The same text gives the same bytes: clouds compare what comes with a token again. Raises PermanentError, with
    sizes and nothing of the text.
    """
    plain = text.encode()
    if len(plain) <= limit:
        return plain
    packed = gzip.compress(plain, mtime=0)
    if len(packed) <= limit:
        return packed
    raise errors.PermanentError(
        f"the user data has {len(plain):,} bytes, {len(packed):,} of them when compressed, "
        f"and {cloud} takes {limit:,}: shorten the context_template, or have the instance fetch what is large"
    )
