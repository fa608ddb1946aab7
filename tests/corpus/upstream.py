"""An upstream that plays recordings: the one that a request's model names, whole or cut at given places."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections.abc import Iterable

from tests.corpus.recordings import Recording
from tests.integration.scripted import Request, Scripted

_PATH_MODEL = re.compile(r"/models/([^:]+):")


class Player:
    """The script of a ``Scripted`` upstream. ``seed`` cuts every answer, differently for each recording; None cuts none."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._by_id = {recording.id: recording for recording in recordings}
        self.seed: int | None = None
        self.asked: list[Request] = []

    def upstream(self) -> Scripted:
        return Scripted(self.play)

    async def play(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> None:
        """Answer one request."""
        recording = self._by_id[_model(request)]
        lines = [
            f"HTTP/1.1 {recording.status} Recorded",
            *(f"{k}: {v}" for k, v in recording.headers.items()),
        ]
        if self.seed is None and not recording.stream:
            lines.append(f"content-length: {len(recording.body)}")
            writer.write(_head(lines) + recording.body)
            await writer.drain()
            return
        writer.write(_head([*lines, "transfer-encoding: chunked"]))
        for piece in pieces(recording.body, self.seed, recording.id):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            if self.seed is not None:
                # Two turns of the loop: the gateway reads this piece before the next one is there.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def pieces(body: bytes, seed: int | None, identity: str) -> list[bytes]:
    """Return ``body`` cut at up to 40 random places, about every second of them around a line end."""
    if seed is None or len(body) < 2:
        return [body] if body else []
    source = random.Random(f"{seed} {identity}")
    ends = [found.start() for found in re.finditer(rb"[\r\n]", body)]
    places = {source.randrange(1, len(body)) for _ in range(source.randrange(1, 20))}
    places |= {
        source.choice(ends) + source.randrange(3)
        for _ in range(min(len(ends), source.randrange(20)))
    }
    edges = [0, *sorted(place for place in places if 0 < place < len(body)), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def _head(lines: list[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _model(request: Request) -> str:
    found = _PATH_MODEL.search(request.target)
    return found[1] if found else str(json.loads(request.body)["model"])
