"""Credentials: a value that cannot be printed by accident, and the form and digest of our keys."""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from typing import final

_TELLING = 6
"""Characters of a credential that are too many to show; "sk-" and the like are not."""


@final
class Secret:
    """A credential: ``***`` wherever it is printed, formatted or logged."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself, for the header that needs it and nothing else."""
        return self._value

    def hide(self, text: str) -> str:
        """``text`` without the credential; a beginning of it where the text was cut counts too.

        Words such as "none", which servers of one's own want for a key, are no secret.
        """
        if len(self._value) < _TELLING:
            return text
        text = text.replace(self._value, "***")
        for length in range(min(len(self._value), len(text)), _TELLING - 1, -1):
            if text.endswith(self._value[:length]):
                return text[:-length] + "***"
        return text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written anywhere")


def key_hash(token: str) -> str:
    """The hex SHA-256 of the whole token: all that is ever stored of a key.

    No salt and no stretching: a key holds 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(token.encode()).hexdigest()


_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_key(prefix: str) -> str:
    """A key: the prefix, 32 random bytes in 43 base62 digits, and a checksum in 6.

    The checksum lets a scanner for leaked secrets tell a key from a text that looks like one.
    """
    body = prefix + _base62(int.from_bytes(secrets.token_bytes(32), "big"), 43)
    return body + _base62(zlib.crc32(body.encode()), 6)


def _base62(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(width, "0")
