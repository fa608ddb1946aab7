"""A body that goes to the upstream as it comes from the client: no more of it is here than a few reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.errors import GatewayError
from proxy.relay.attempt import Attempt
from proxy.tasks import spawn
from proxy.upstream.http1 import Connection


class Upload(Protocol):
    """The rest of a client's body, of which a plan holds the beginning. It comes once."""

    length: int | None
    """Bytes that ``read`` will bring; None: nobody knows."""
    begun: bool
    """Some of it has been read, and is gone."""
    ended: bool

    async def read(self) -> bytes:
        """Return the next piece; nothing at the end. Raises GatewayError for what the client does wrong."""


def framing(upload: Upload, opening: bytes) -> bytes:
    """Return the header lines and the first bytes of a body that begins with ``opening``."""
    if upload.length is not None:
        return b"Content-Length: %d\r\n\r\n%b" % (len(opening) + upload.length, opening)
    return b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(opening)


def pump(
    upload: Upload, connection: Connection, attempt: Attempt, now: Callable[[], float]
) -> asyncio.Task[None]:
    """Return the task that brings ``upload`` to an upstream. Its owner cancels it when the attempt is over."""

    def failed(error: BaseException) -> None:
        # Before the next read nobody could hear of it.
        if isinstance(error, GatewayError):
            attempt.expire(error)
        else:
            # The client's connection is gone, and its task hears of that as well.
            attempt.abort()

    return spawn(_pump(upload, connection, attempt, now), "upload", failed)


async def _pump(
    upload: Upload, connection: Connection, attempt: Attempt, now: Callable[[], float]
) -> None:
    chunked = upload.length is None
    while data := await upload.read():
        await connection.write(_chunk(data) if chunked else data)
        # The time for an answer begins with the last byte that the upstream has taken.
        attempt.sent_at = now()
    if chunked:
        await connection.write(b"0\r\n\r\n")
    connection.sent()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
