"""What two processes say to each other while the one takes the other's place, and what is handed from one to the other.

The old process starts the new one with a socket between them, and they say, a line of JSON each:

    new   prepared                  the configuration is good, everything is loaded
    old   yours, what is shared     the ledger is let go of; until the end both let calls in, each for its part of every limit
    new   ready, pid, version       it has the ledger and accepts connections
    old   go                        the service manager knows; the old one accepts nobody any more
    old   running, in flight        several times a second, while calls run on there
          (closed)                  it has ended

or ``failed, why`` from the new one before it is ready; then the old one takes the ledger back and goes on. Words that one does
not know are passed over, since the two are of different versions.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

VARIABLE = "SPLICE_PREDECESSOR"
"""Of the environment: what the new process is given."""
_PROTOCOL = 1
_LONGEST = 1 << 26
"""Bytes of a line. What is shared names every key that has called within the last minute."""
_NOT_ITS_OWN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", VARIABLE)
"""What systemd has said to the old process about itself."""


class CannotUpgrade(Exception):
    """The new process does not take over; the message says why, and the old one goes on."""


class Word(StrEnum):
    PREPARED = "prepared"
    YOURS = "yours"
    READY = "ready"
    FAILED = "failed"
    GO = "go"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Estate:
    """What is handed over: the number of the socket between the two, and those of the listening ones by what they are for.

    ``state`` is the state directory: its lock is what is passed on.
    """

    channel: int
    listeners: Mapping[str, Sequence[int]]
    state: str

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the new process."""
        told = {
            "protocol": _PROTOCOL,
            "channel": self.channel,
            "listeners": self.listeners,
            "state": self.state,
        }
        kept = {name: value for name, value in environ.items() if name not in _NOT_ITS_OWN}
        return {**kept, VARIABLE: orjson.dumps(told).decode()}

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Estate | None:
        """Return what this process was given; None if it takes nobody's place. Raises CannotUpgrade."""
        text = environ.get(VARIABLE)
        if text is None:
            return None
        told = orjson.loads(text)
        estate = cls(told["channel"], told["listeners"], told["state"])
        if told["protocol"] != _PROTOCOL:
            raise CannotUpgrade(
                f"found an upgrade in the manner {told['protocol']}, expected {_PROTOCOL}; restart instead"
            )
        return estate


class Channel:
    """The socket between the two. ``say`` never blocks or raises; ``hear`` returns None once the other one has ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, one: socket.socket) -> Channel:
        return cls(*await asyncio.open_connection(sock=one, limit=_LONGEST))

    def say(self, word: Word, **told: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps({"word": word, **told}) + b"\n")

    async def hear(self) -> dict[str, Any] | None:
        try:
            line = await self._reader.readline()
            return orjson.loads(line) if line.endswith(b"\n") else None
        except (ConnectionError, ValueError):
            return None

    async def expect(self, *words: Word) -> dict[str, Any] | None:
        """Return the next message that begins with one of ``words``; None once the other one has ended."""
        while (told := await self.hear()) is not None:
            if told.get("word") in words:
                return told
        return None

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def fail(environ: Mapping[str, str], why: str) -> None:
    """Tell whoever started this process to take its place that it will not."""
    try:
        estate = Estate.of(environ)
        if estate is not None:
            os.write(estate.channel, orjson.dumps({"word": Word.FAILED, "why": why}) + b"\n")
    except (CannotUpgrade, OSError):
        # Then the end of this process says it.
        return
