"""What may stand in the place of a secret value wherever sections are kept: its name, or the value encrypted.

Written by users (``{secret: NAME}``) and by the import of definitions (``{encrypted: TOKEN}``), read when a section
is rendered: compiler/sections.py, encryption.py, plugins/contextualisation/templates.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The environment variable that has the key of encrypted values where the configuration (encryption.key) has none.
KEY_VARIABLE = "OCCO_ENCRYPTION_KEY"
#: Bytes of a key, which is written in URL-safe base64, and a command that makes one.
KEY_LENGTH = 32
MAKE_KEY = "openssl rand -base64 32 | tr /+ _-"


def secret(value: Any) -> str | None:
    """The name of the secret that a value refers to, None if it is no reference."""
    return _only(value, "secret")


def encrypted(value: Any) -> str | None:
    """The token of an encrypted value, None if it is none."""
    return _only(value, "encrypted")


def of_token(token: str) -> dict[str, str]:
    """What is stored in the place of a value that was encrypted."""
    return {"encrypted": token}


def _only(value: Any, key: str) -> str | None:
    """What a mapping of this one key has there, if it is a text."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    found = value.get(key)
    return found if isinstance(found, str) else None
