"""The tokens of one turn of the loop, kept for its end and then written one after the other."""

from __future__ import annotations

import asyncio


class Outbox:
    """What is put here is written when the loop has read what there was to read, or at ``flush``, whichever is earlier.

    Written one by one between the reads, each token wakes a client that has gone to sleep again since the last one, and that is
    half of what a write costs. Whoever writes to one of these transports otherwise, or closes it, calls ``flush`` first.
    """

    __slots__ = ("_data", "_loop", "_transports")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transports: list[asyncio.Transport] = []
        self._data: list[bytes] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Have ``data`` written; it is dropped if the transport closes before."""
        self._transports.append(transport)
        self._data.append(data)
        if len(self._data) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is here now, in the order in which it came."""
        if not self._data:
            return
        transports, self._transports = self._transports, []
        waiting, self._data = self._data, []
        for transport, data in zip(transports, waiting, strict=True):
            if not transport.is_closing():
                try:
                    transport.write(data)
                except RuntimeError:
                    # What uvloop raises for a socket that is gone. The others here are other clients'.
                    transport.abort()
