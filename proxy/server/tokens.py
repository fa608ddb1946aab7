"""Random hexadecimal digits, for request ids and for the ids of answers that have none."""

from __future__ import annotations

import os

_AT_A_TIME = 4096


class Digits:
    """Hands out digits of the system's randomness, which is asked for 4 KiB at a time: each asking is a system call."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def take(self, count: int) -> str:
        """Return ``count`` hexadecimal digits that nobody was given before."""
        start = self._at
        end = start + count
        if end > len(self._pool):
            self._pool = os.urandom(_AT_A_TIME).hex()
            start, end = 0, count
        self._at = end
        return self._pool[start:end]
