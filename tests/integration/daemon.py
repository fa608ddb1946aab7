"""A gateway in a process of its own, started the way systemd starts it: sockets from 3 on, and an ear for what it says."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.gateway import config_text

ROOT = Path(__file__).parents[2]

# What systemd does between fork and exec: the sockets get their numbers, the variables the process's own.
_STARTER = """
import os, sys
given = [int(number) for number in sys.argv[1].split(",") if number]
apart = [os.dup2(number, 100 + index) for index, number in enumerate(given)]
for index, number in enumerate(apart):
    os.dup2(number, 3 + index, inheritable=True)
    os.close(number)
if given:
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(given))
if "WATCHDOG_USEC" in os.environ:
    os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Daemon:
    """One run of ``splice serve``."""

    def __init__(self, process: asyncio.subprocess.Process, ear: socket.socket, log: Path) -> None:
        self.process = process
        self.log = log
        self._ear = ear
        self._heard: list[str] = []

    @property
    def heard(self) -> list[str]:
        """What it has told systemd so far."""
        while True:
            try:
                self._heard.append(self._ear.recv(4096).decode())
            except BlockingIOError:
                return self._heard

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far, parsed; what is no JSON makes it fail."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def says(self, message: str, within: float = 15) -> None:
        """Wait until it has told systemd ``message``."""
        async with asyncio.timeout(within):
            while message not in self.heard:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.01)

    def asked(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self, within: float = 20) -> int:
        """Wait for its end; return its exit code."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@dataclass(frozen=True, slots=True)
class Handed:
    """Sockets that systemd hands over, each with its FileDescriptorName."""

    sockets: Sequence[socket.socket]
    names: Sequence[str]


@asynccontextmanager
async def started(
    text: str,
    handed: Handed | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    ready: bool = True,
) -> AsyncIterator[Daemon]:
    """Run ``splice serve`` on the configuration ``text``, from its READY on; it is killed if it outlives the block."""
    handed = handed or Handed((), ())
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="splice-daemon-")))
        config, log = directory / "config.toml", directory / "log"
        config.write_text(text)
        ear = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        ear.bind(str(directory / "notify"))
        ear.settimeout(0)
        numbers = [one.fileno() for one in handed.sockets]
        kept = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _STARTER,
            ",".join(map(str, numbers)),
            *("-W", "error", "-m", "proxy", "serve", "-c", str(config)),
            cwd=ROOT,
            env={
                **{name: os.environ[name] for name in kept if name in os.environ},
                "NOTIFY_SOCKET": ear.getsockname(),
                **({"LISTEN_FDNAMES": ":".join(handed.names)} if handed.names else {}),
                **(environ or {}),
            },
            pass_fds=numbers,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stack.enter_context(log.open("wb")),
        )
        daemon = Daemon(process, ear, log)
        try:
            if ready:
                await daemon.says("READY=1")
            yield daemon
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def on_a_port() -> socket.socket:
    """Return a socket that listens on a free port of loopback, as a socket unit's does."""
    one = socket.create_server(("127.0.0.1", 0), backlog=4096)
    one.settimeout(0)
    return one


def on_a_unix_socket(path: Path) -> socket.socket:
    """The same at ``path``."""
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    one.listen(4096)
    one.settimeout(0)
    return one


def activated(*tables: str, **sections: str) -> str:
    """Return a configuration that listens on what systemd hands over as ``public``."""
    server = 'listen = ["systemd:public"]\n' + sections.pop("server", "")
    return config_text(*tables, server=server, **sections)
