"""A gateway in a process of its own, started the way systemd starts it: sockets from 3 on, and an ear for what it says."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.gateway import config_text
from tests.integration.wire import Answered, Wire, request

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
    """One run of ``splice serve``, and what takes its place in an upgrade."""

    def __init__(self, process: asyncio.subprocess.Process, ear: socket.socket, log: Path) -> None:
        self.process = process
        self.main = process.pid
        """The process that systemd would send signals to."""
        self.pids = [process.pid]
        """All that were, the present one last."""
        self.log = log
        self._ear = ear
        self._heard: list[str] = []

    @property
    def heard(self) -> list[str]:
        """What it has told systemd so far."""
        while True:
            try:
                said = self._ear.recv(4096).decode()
            except BlockingIOError:
                return self._heard
            self._heard.append(said)
            name, _, value = said.partition("=")
            if name == "MAINPID":
                self.main = int(value)
                self.pids.append(self.main)

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

    @property
    def directory(self) -> Path:
        return self.log.parent

    def asked(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.main, number)

    async def ended(self, within: float = 20) -> int:
        """Wait for its end; return its exit code."""
        return await self.end_of(self.main, within)

    async def end_of(self, pid: int, within: float = 20) -> int:
        """The same of one of ``pids``. One that another has started is our child once that has ended, as it is systemd's."""
        async with asyncio.timeout(within):
            if pid == self.process.pid:
                return await self.process.wait()
            while True:
                with suppress(ChildProcessError):
                    ended, status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222
                    if ended:
                        return os.waitstatus_to_exitcode(status)
                await asyncio.sleep(0.01)

    async def admin(self, method: str, path: str) -> Answered:
        """Ask the admin API at ``/api/v1/path``, over its socket."""
        wire = await Wire.open(str(self.directory / "state" / "admin.sock"))
        try:
            wire.send(request(method, f"/api/v1/{path}", b"", host=""))
            return await wire.answer()
        finally:
            wire.close()

    async def upgraded(self, within: float = 60) -> dict[str, Any]:
        """Have it upgraded; return what it answers, once systemd has been told."""
        before = self.main
        async with asyncio.timeout(within):
            answered = await self.admin("POST", "upgrade")
            assert answered.status == 200, (answered.body, self.log.read_text())
            while self.heard and self.main == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return dict(answered.json)

    def alive(self) -> list[int]:
        """Return those of ``pids`` that run."""
        return [pid for pid in self.pids if Path(f"/proc/{pid}/cmdline").read_bytes()]

    def kill(self) -> None:
        """End what is left of it."""
        assert self.heard is not None
        for pid in self.pids:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                if pid != self.process.pid:
                    os.waitpid(pid, 0)


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
    command: Sequence[str] = ("-W", "error", "-m", "proxy"),
) -> AsyncIterator[Daemon]:
    """Run ``splice serve`` on the configuration ``text``, from its READY on; it is killed if it outlives the block.

    ``command`` is what Python is told to run.
    """
    handed = handed or Handed((), ())
    adopt_orphans()
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
            *(*command, "serve", "-c", str(config)),
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
            daemon.kill()
            await process.wait()


def adopt_orphans() -> None:
    """Have what our children leave behind be ours, as it would be systemd's: then its end can be waited for."""
    subreaper = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
    assert ctypes.CDLL(None, use_errno=True).prctl(subreaper, 1, 0, 0, 0) == 0


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
