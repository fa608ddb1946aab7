"""The process whose place this one takes: what it hands over, and what still runs there."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proxy import __version__
from proxy.app.succession import CannotUpgrade, Channel, Estate, Word
from proxy.server.listeners import Inheritance
from proxy.tasks import spawn


class Predecessor:
    """Made by ``met``. Nothing is written to the state directory before ``hand_over``."""

    def __init__(self, estate: Estate, channel: Channel) -> None:
        self.listeners = Inheritance(estate.listeners)
        self.state = Path(estate.state)
        self.pid = os.getppid()
        self.gone = asyncio.Event()
        """It has ended."""
        self._channel = channel

    @classmethod
    async def met(cls, environ: Mapping[str, str]) -> Predecessor | None:
        """Return whose place this process takes; None if it takes nobody's. Raises CannotUpgrade, CannotListen."""
        estate = Estate.of(environ)
        if estate is None:
            return None
        # A number of its own: ``fail`` needs the other one to the last.
        one = socket.socket(fileno=os.dup(estate.channel))
        os.set_inheritable(estate.channel, False)  # noqa: FBT003 - as it is called
        return cls(estate, await Channel.over(one))

    async def hand_over(self) -> dict[str, Any]:
        """Have it let go of the ledger; return what is shared with it until it ends. Raises CannotUpgrade."""
        self._channel.say(Word.PREPARED)
        told = await self._channel.expect(Word.YOURS)
        if told is None:
            raise CannotUpgrade("the process that is to be replaced has ended")
        return told

    async def leave(self) -> None:
        """Say that this process accepts connections; return when it alone does."""
        self._channel.say(Word.READY, pid=os.getpid(), version=__version__)
        # If that one ends now, this one is alone as well.
        await self._channel.expect(Word.GO)

    def follow(
        self, heard: Callable[[Mapping[str, Any]], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Call ``heard`` with what it says of the calls that run there, until it is ``gone``."""
        spawn(self._follow(heard), "predecessor", failed)

    async def close(self) -> None:
        self.listeners.close()
        await self._channel.close()

    async def _follow(self, heard: Callable[[Mapping[str, Any]], None]) -> None:
        try:
            while (told := await self._channel.expect(Word.RUNNING)) is not None:
                heard(told)
        finally:
            self.gone.set()
            await self.close()
