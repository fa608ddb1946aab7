"""The process that takes this one's place: started with what listens here, and asked until it is ready or has failed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.app.succession import CannotUpgrade, Channel, Estate, Word

_LAST_WORDS = 5.0
"""Seconds for the process to end after it has said that it failed: until then it may hold the ledger."""
_LOOK = 0.02


@dataclass(frozen=True, slots=True)
class Ready:
    """Who accepts connections now."""

    pid: int
    version: str


class Successor:
    """Made by ``start``. One that failed is to be ended by ``stop``."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self._code: int | None = None
        """Its exit code, once that is known."""
        self._channel = channel

    @classmethod
    async def start(
        cls, listeners: Mapping[str, Sequence[int]], state: Path, environ: Mapping[str, str]
    ) -> Successor:
        """Start the program again, as it is installed now. Raises CannotUpgrade."""
        ours, theirs = socket.socketpair()
        with theirs:
            line = command(sys.argv, sys.orig_argv)
            estate = Estate(theirs.fileno(), listeners, str(state))
            handed = [
                theirs.fileno(),
                *(number for found in listeners.values() for number in found),
            ]
            try:
                pid = os.posix_spawn(  # noqa: ASYNC221 - the kernel's part of it takes a moment
                    line[0],
                    line,
                    estate.environment(environ),
                    # To its own number: that is how one is inherited, and by this process alone.
                    file_actions=[(os.POSIX_SPAWN_DUP2, number, number) for number in handed],
                )
            except OSError as error:
                ours.close()
                raise CannotUpgrade(
                    f"cannot start {line[0]}: {error.strerror}; is it installed?"
                ) from error
        return cls(pid, await Channel.over(ours))

    async def prepared(self) -> None:
        """Wait until it needs the ledger. Raises CannotUpgrade."""
        await self._expect(Word.PREPARED)

    async def ready(self, shared: Mapping[str, Any]) -> Ready:
        """Tell it that the ledger is its own, and wait until it accepts connections. Raises CannotUpgrade."""
        self._channel.say(Word.YOURS, **shared)
        told = await self._expect(Word.READY)
        return Ready(told["pid"], told["version"])

    def go(self) -> None:
        """Tell it that it is the one."""
        self._channel.say(Word.GO)

    def running(self, in_flight: int, accounts: Mapping[str, int]) -> None:
        """Tell it what still runs here."""
        self._channel.say(Word.RUNNING, in_flight=in_flight, accounts=accounts)

    async def close(self) -> None:
        """Tell it that this process has ended."""
        await self._channel.close()

    async def _expect(self, word: Word) -> dict[str, Any]:
        told = await self._channel.expect(word, Word.FAILED)
        if told is None:
            code = await self.stop()
            raise CannotUpgrade(f"the new process ended with {code}; its log says why")
        if told["word"] == Word.FAILED:
            raise CannotUpgrade(told["why"])
        return told

    async def stop(self) -> int:
        """Wait a little for its end, and then end it; return its exit code, or the signal below 0."""
        await self._channel.close()
        until = time.monotonic() + _LAST_WORDS
        while self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
            if ended:
                self._code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() >= until:
                os.kill(self.pid, signal.SIGKILL)
            await asyncio.sleep(_LOOK)
        return self._code


def command(argv: Sequence[str], original: Sequence[str]) -> list[str]:
    """Return what starts this program anew.

    A script is started by its own path, through whatever links there are: they, and the interpreter that its first line names,
    may be others by now. All else, as ``python -m proxy``, is started as it was.
    """
    script = argv[0]
    if script in original and os.access(script, os.X_OK):
        return [script, *argv[1:]]
    return [sys.executable, *original[1:]]
