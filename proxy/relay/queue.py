"""Calls that wait until an account is free: first come, first served within a key, and the keys in turn.

Calls that want the same stand in one line: what one of them cannot use is of no use to those behind it, so a place that
becomes free wakes one call of each line, and whoever leaves a line wakes the next.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest


class Turn:
    """A call's place in its line, which it keeps while it looks and waits again."""

    __slots__ = ("_called",)

    def __init__(self) -> None:
        self._called: asyncio.Future[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Wait to be called, for at most ``seconds``; the call is to look again in either case."""
        self._called = asyncio.get_running_loop().create_future()
        try:
            # Not wait_for: in Python 3.11 that forgets a cancellation which comes together with the result.
            await asyncio.wait((self._called,), timeout=seconds)
        finally:
            self._called = None

    def call(self) -> bool:
        """Wake the call; return False if it is awake."""
        if self._called is None or self._called.done():
            return False
        self._called.set_result(None)
        return True


_Line = OrderedDict[str, deque[Turn]]


class Queue:
    """Waiting calls by what they want and by their keys. ``wake`` is called whenever an account may have become free."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        return sum(len(turns) for line in self._lines.values() for turns in line.values())

    @contextmanager
    def turn(self, wanted: str, key: str) -> Iterator[Turn]:
        """Stand in the line of those who want ``wanted``, behind the others of ``key``, until the context is left."""
        turn = Turn()
        self._lines.setdefault(wanted, OrderedDict()).setdefault(key, deque()).append(turn)
        try:
            yield turn
        finally:
            self._leave(wanted, key, turn)

    def wake(self) -> None:
        """Let one call of each line look again: the one that has waited for longest of the key whose turn it is."""
        for line in self._lines.values():
            _wake_one(line)

    def _leave(self, wanted: str, key: str, turn: Turn) -> None:
        line = self._lines[wanted]
        turns = line[key]
        turns.remove(turn)
        if turns:
            line.move_to_end(key)
        else:
            del line[key]
        if line:
            # There may be room for more than one, and who was called and has left has not used its call.
            _wake_one(line)
        else:
            del self._lines[wanted]


def _wake_one(line: _Line) -> None:
    """Call who is asleep: of the first calls of all keys the first, else of the second ones, and so on."""
    for rank in zip_longest(*line.values()):
        if any(turn is not None and turn.call() for turn in rank):
            return
