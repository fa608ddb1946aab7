"""A gateway in this process, in front of whatever a test names as its upstreams."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.app import Running, start
from proxy.config import key_hash, loads
from proxy.log import Log
from tests.integration.scripted import settled
from tests.integration.wire import Wire

KEY = "sk-splice-the-key-of-the-tests"
OTHER_KEY = "sk-splice-another-key-of-the-tests"
SECRET = "sk-upstream-secret"
"""The credential of every account that ``account`` makes."""


class Gateway:
    """A running gateway: where it is, and what it has logged."""

    def __init__(self, running: Running, written: io.StringIO) -> None:
        self.running = running
        self._written = written
        self._wires: list[Wire] = []

    @property
    def address(self) -> tuple[str, int]:
        found = self.running.addresses[0]
        assert isinstance(found, tuple)
        return found

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of the log so far."""
        return [json.loads(line) for line in self._written.getvalue().splitlines()]

    async def settled(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until ``count`` requests have ended; return their log lines."""
        await settled(lambda: len(self._requests()) >= count)
        return self._requests()

    async def last(self, count: int = 1) -> dict[str, Any]:
        """Wait until ``count`` requests have ended; return the last one's log line."""
        return (await self.settled(count))[-1]

    async def wire(self) -> Wire:
        """Return a new connection to it."""
        wire = await Wire.open(self.address)
        self._wires.append(wire)
        return wire

    async def post(self, path: str, body: object, **headers: str) -> Answered:
        """Send one request with the tests' key on a connection of its own; return the answer, read whole."""
        wire = await self.wire()
        try:
            return await wire.post(path, body, **{"authorization": f"Bearer {KEY}", **headers})
        finally:
            wire.close()

    async def chat(self, model: str = "up/m", **fields: Any) -> Answered:
        return await self.post("/v1/chat/completions", chat_body(model, **fields))

    async def messages(self, model: str = "up/m", **fields: Any) -> Answered:
        return await self.post("/v1/messages", messages_body(model, **fields))

    def close_wires(self) -> None:
        for wire in self._wires:
            wire.close()

    def _requests(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["msg"] == "request"]
