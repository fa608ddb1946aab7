"""Many clients at once that are slow, or say nothing at all: our own, and those of slowhttptest where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.integration.gateway import BEARER, KEY, body_of
from tests.integration.wire import encoded, request

TOOL = shutil.which("slowhttptest")
ROOT = Path(__file__).parents[2]
_HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: {BEARER}\r\n".encode()
Address = tuple[str, int]


async def _silent(loop: asyncio.AbstractEventLoop, one: socket.socket) -> None:
    """Say nothing."""
    while await loop.sock_recv(one, 65536):
        pass


async def _slow_head(loop: asyncio.AbstractEventLoop, one: socket.socket) -> None:
    await loop.sock_sendall(one, _HEAD)
    for number in range(1000):
        await asyncio.sleep(1)
        await loop.sock_sendall(one, b"x-%d: y\r\n" % number)


async def _slow_body(loop: asyncio.AbstractEventLoop, one: socket.socket) -> None:
    await loop.sock_sendall(one, _HEAD + b"Content-Length: 1000000\r\n\r\n")
    while True:
        await loop.sock_sendall(one, b" ")
        await asyncio.sleep(1)


async def _unread(loop: asyncio.AbstractEventLoop, one: socket.socket) -> None:
    """Ask for a long stream and read none of it."""
    body = encoded(body_of("chat", said="at length", stream=True))
    await loop.sock_sendall(
        one, request("POST", "/v1/chat/completions", body, authorization=BEARER)
    )
    await asyncio.sleep(3600)


OURS = {"nothing": _silent, "heads": _slow_head, "bodies": _slow_body, "unread streams": _unread}


async def _meet(kind: str, address: Address, count: int) -> None:
    """Keep ``count`` connections of a kind busy: who is cut off comes again."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(100)

    async def member() -> None:
        while True:
            with socket.socket() as one:
                one.setblocking(False)  # noqa: FBT003 - the socket's own
                # Small, so that what is not read is held back by the gateway and not by the kernel.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                with contextlib.suppress(OSError):
                    async with gate:
                        await loop.sock_connect(one, address)
                    await OURS[kind](loop, one)
            await asyncio.sleep(0.1)

    await asyncio.gather(*(member() for _ in range(count)))


# Attackers have machines of their own: here they get what the gateway and its ordinary clients leave them.
_NICE = ("nice", "-n", "19")


def crowd(kind: str, address: Address, count: int) -> AbstractAsyncContextManager[None]:
    """Have ``count`` clients of our own, in a process of theirs, until the block ends."""
    here = (sys.executable, "-m", __name__)
    return _running(*here, kind, address[0], str(address[1]), str(count))


_OPTIONS = {
    "slow headers": ("-H", "-i", "3", "-x", "10", "-t", "GET"),
    "slow bodies": ("-B", "-i", "5", "-s", "100000", "-x", "10"),
    "slow readers": ("-X", "-k", "3", "-n", "5", "-z", "32", "-w", "512", "-y", "1024"),
}
TOOLS = tuple(_OPTIONS)


def slowhttptest(kind: str, address: Address, count: int) -> AbstractAsyncContextManager[None]:
    """Run the tool with ``count`` connections until the block ends."""
    assert TOOL is not None
    url = "http://{}:{}/v1/{}?key={}".format(
        *address, "models" if kind == "slow readers" else "chat/completions", KEY
    )
    number = str(count)
    return _running(TOOL, *_OPTIONS[kind], "-c", number, "-r", number, "-l", "600", "-p", "3", "-u", url)  # fmt: skip


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[None]:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *_NICE, *command, cwd=ROOT, stdout=quiet, stderr=quiet
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    _, what, host, port, number = sys.argv
    asyncio.run(_meet(what, (host, int(port)), int(number)))
