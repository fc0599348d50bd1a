"""Stars for secrets in the words of others. Called by the handlers whose clouds quote what they were told."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

#: What is shorter than this is looked for as a word of its own only: stars within words would make them unreadable.
SHORT = 4
STARS = "***"

#: What Go's strconv.Quote, its %q, writes for characters that are not printed as they are.
_ESCAPES = str.maketrans(
    {
        '"': '\\"',
        "\\": "\\\\",
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
    }
)


def without(words: str, secrets: Iterable[str]) -> str:
    """The words, with stars for the secrets: as they are, quoted as Go and JSON do, once or twice, and as base64."""
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    # at one place the longest: one may hold another
    pattern = "|".join(map(_pattern, sorted(forms, key=len, reverse=True)))
    return re.sub(pattern, STARS, words) if pattern else words


def _pattern(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= SHORT else rf"(?<!\w){escaped}(?!\w)"


def _forms(secret: str) -> Iterator[str]:
    quoted = _quoted(secret)
    yield from (secret, quoted, _quoted(quoted))
    # Go's JSON, which an error may be passed on in, has more escapes than its %q
    yield from (re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", form) for form in (secret, quoted))
    if len(secret) >= SHORT:
        yield base64.b64encode(secret.encode()).decode()


def _quoted(text: str) -> str:
    return "".join(map(_printed, text.translate(_ESCAPES)))


def _printed(character: str) -> str:
    number = ord(character)
    if character.isprintable():
        return character
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
