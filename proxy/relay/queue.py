"""Calls that wait until an account is free: first come, first served within a key, and the keys in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque


class Queue:
    """Waiting calls by their keys. ``wake`` is called whenever an account may have become free."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def wait(self, key: str, seconds: float) -> None:
        """Wait for ``wake``, for at most ``seconds``; who asked for it is to look again in either case."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await asyncio.wait_for(turn, seconds)
        except TimeoutError:
            pass
        finally:
            self._leave(key, turn)

    def wake(self) -> None:
        """Let the call look again that has waited for longest of the key whose turn it is."""
        while self._waiting:
            key, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns
            if not turn.done():
                turn.set_result(None)
                return

    def _leave(self, key: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(key)
        if turns is None:
            return
        if turn in turns:
            turns.remove(turn)
        if not turns:
            del self._waiting[key]
