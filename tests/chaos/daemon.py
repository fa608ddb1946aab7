"""A gateway as a process of its own, under load, to be killed at will; and what its clients were told before."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.billing.database import connect
from tests.integration import spoken
from tests.integration.gateway import BEARER, chat_body, config_text, upstream
from tests.integration.scripted import Script, Scripted, Step
from tests.integration.wire import Answered, Wire, encoded, request

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("SPLICE_CHAOS_KILLS", "10"))
"""How often a gateway is killed in a test; a long run sets more."""
PATIENCE = 60 + 6 * KILLS
"""Seconds for such a test: most go into starting the gateway."""
_UP = 20.0


@dataclass(slots=True)
class Daemon:
    """One process after the other on one state directory. ``acked`` are the ids of the answers that came whole."""

    directory: Path
    socket: str = "socket"
    acked: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.directory / "state"

    async def start(self, *command: str) -> None:
        """Start the gateway, as ``python -m proxy`` or by another ``command``, and wait until it answers."""
        line = [sys.executable, *(command or ("-m", "proxy"))]
        line += ["serve", "-c", str(self.directory / "config.toml")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it is back before it matters
                line, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        until = time.monotonic() + _UP
        while time.monotonic() < until:
            try:
                wire = await self.wire()
            except OSError:
                if self.process.poll() is not None:
                    raise ConnectionError(f"it ended with {self.process.returncode}") from None
                await asyncio.sleep(0.02)
            else:
                wire.close()
                return
        raise TimeoutError("the gateway did not come up")

    async def wire(self) -> Wire:
        return await Wire.open(str(self.directory / self.socket))

    async def ask(self, wire: Wire, *, stream: bool = False) -> Answered:
        """Ask once; note the answer if it came whole and well."""
        body = encoded(chat_body(stream=stream))
        wire.send(request("POST", "/v1/chat/completions", body, authorization=BEARER))
        answered = await wire.answer()
        if answered.whole and answered.status == 200:
            self.acked.append(answered.headers["x-request-id"])
        return answered

    async def load(self, clients: int = 8) -> None:
        """Ask without a pause until the gateway is gone."""
        await asyncio.gather(*(self._client(number) for number in range(clients)))

    async def _client(self, number: int) -> None:
        try:
            wire = await self.wire()
        except OSError:
            return
        try:
            whole = True
            while whole:
                number += 1
                whole = (await self.ask(wire, stream=number % 2 == 0)).whole
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            wire.leave()

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it in order, while its upstream lives on; return its exit code."""
        return await asyncio.to_thread(self._end, signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with closing(connect(self.state / "ledger.db", read_only=True)) as database:
            cursor = database.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def log(self) -> str:
        return (self.directory / "log").read_text()


@asynccontextmanager
async def daemon(
    directory: Path, script: Script | list[Step] | None = None
) -> AsyncIterator[Daemon]:
    """Yield a daemon in front of one upstream, not started yet."""
    async with Scripted(script or answer) as up:
        text = config_text(upstream(up.url), server='listen = ["unix:socket"]\ngrace_period = "5s"')
        (directory / "config.toml").write_text(text)
        one = Daemon(directory)
        try:
            yield one
        finally:
            if one.process is not None:
                one.kill()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Any) -> None:
    """Answer in the form that was asked for, with the usual usage."""
    stream = b'"stream": true' in asked.body
    writer.write(spoken.streamed("openai-chat") if stream else spoken.told("openai-chat"))
    await writer.drain()
