"""How long the loop was kept from everybody else, told in its own CPU time: a busy machine is not the gateway's doing."""

from __future__ import annotations

import asyncio
import time
from typing import Self

_TICK = 0.001
"""Seconds."""


class Stalls:
    """Looks each millisecond while it is entered; ``longest`` is the most CPU seconds between two looks."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._last = time.thread_time()
        self._handle = self._loop.call_later(_TICK, self._look)
        return self

    def __exit__(self, *exc: object) -> None:
        self._note()
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        self._note()
        self._handle = self._loop.call_later(_TICK, self._look)

    def _note(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
