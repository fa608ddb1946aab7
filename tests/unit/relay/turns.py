"""Loops of which a test says when a turn ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class Turn:
    """As much of a loop as an outbox uses: what is to be run ``soon``."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)

    def end(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()


class _AtOnce:
    def call_soon(self, callback: Callable[[], object]) -> None:
        callback()


def at_once() -> asyncio.AbstractEventLoop:
    """Return a loop whose turns end with each call."""
    return cast(asyncio.AbstractEventLoop, _AtOnce())
