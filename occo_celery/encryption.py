"""Encrypts the literal secrets of node definitions with the configuration's keys, and opens them where they are used.

Made by wiring.py. api/ encrypts when a file is imported; what templates are given by infraprocessor/resolve.py opens.
model/reference.py knows what is stored. Tokens are Fernet's (AES-CBC and HMAC-SHA256; https://github.com/fernet/spec).
The package cryptography is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from occo_celery import errors
from occo_celery.model import reference

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

Definitions = Mapping[str, Sequence[Mapping[str, Any]]]


class Encryption:
    """keys: as Fernet makes them. The first one encrypts, each of them opens; with none, nothing can be done."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)

    @property
    def usable(self) -> bool:
        return bool(self._keys)

    def encrypt(self, value: str) -> str:
        """A token, another one each time."""
        return self._ciphers[0].encrypt(value.encode()).decode()

    def decrypt(self, token: str) -> str:
        """The value of a token. Raises PermanentError, without the token, when no key opens it."""
        for cipher in self._ciphers:
            if (value := _opened(cipher, token)) is not None:
                return value
        why = "the configured key does not open it" if self._keys else "no key is configured"
        raise errors.PermanentError(
            f"its value is stored encrypted and {why}: set encryption.key, or {reference.KEY_VARIABLE}, to the key "
            "that it was encrypted with, or import the definition again and update what was made from it"
        )

    def settled(self, definitions: Definitions, earlier: Definitions) -> dict[str, tuple[Mapping[str, Any], ...]]:
        """The definitions, each implementation as it was stored earlier if it says the same.

        A value is encrypted differently each time, and what says the same must not look changed: instances would be
        replaced. What only an old key opens counts as changed, so that an old key can be done away with.
        """
        return {
            name: tuple(self._settled(implementations, list(earlier.get(name, ()))))
            for name, implementations in definitions.items()
        }

    def _settled(
        self, implementations: Sequence[Mapping[str, Any]], left: list[Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """left: earlier ones that are not taken yet; two that say the same differ in their tokens, and both stay."""
        for one in implementations:
            old = next((old for old in left if self._says_the_same(one, old)), None)
            if old is not None:
                left.remove(old)
            yield one if old is None else old

    def _says_the_same(self, new: Any, old: Any) -> bool:
        token, other = reference.encrypted(new), reference.encrypted(old)
        if token is not None and other is not None:
            return self.decrypt(token) == _opened(self._ciphers[0], other)
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            return new.keys() == old.keys() and all(self._says_the_same(one, old[key]) for key, one in new.items())
        if isinstance(new, list) and isinstance(old, list):
            return len(new) == len(old) and all(map(self._says_the_same, new, old))
        return type(new) is type(old) and bool(new == old)

    @cached_property
    def _ciphers(self) -> tuple[Fernet, ...]:
        from cryptography.fernet import Fernet

        return tuple(Fernet(key) for key in self._keys)


def _opened(cipher: Fernet, token: str) -> str | None:
    from cryptography.fernet import InvalidToken

    try:
        return cipher.decrypt(token.encode()).decode()
    except InvalidToken:
        return None
