"""A client that puts bytes on a connection and sees those that come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer; header names are lower-cased. ``whole``: it ended as its framing says."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, which both dialects have at the same place."""
        found = self.json["error"]
        assert isinstance(found, dict)
        return found

    @property
    def frames(self) -> list[bytes]:
        """The frames of an event stream, comments among them."""
        frames = self.body.split(b"\n\n")
        assert frames.pop() == b"", "the stream ends in the middle of a frame"
        return frames

    @property
    def data(self) -> list[Any]:
        """What the frames say: parsed JSON, or ``"[DONE]"``; comments left out."""
        said = [_data(frame) for frame in self.frames if not frame.startswith(b":")]
        return [one if one == "[DONE]" else json.loads(one) for one in said]

    @property
    def text(self) -> str:
        """The text that a stream of either dialect or a document says."""
        if "event-stream" not in self.headers["content-type"]:
            document = self.json
            if "choices" in document:
                return str(document["choices"][0]["message"]["content"])
            return "".join(block.get("text", "") for block in document["content"])
        return "".join(_delta(one) for one in self.data if one != "[DONE]")


def _data(frame: bytes) -> str:
    lines = [line[6:] for line in frame.split(b"\n") if line.startswith(b"data: ")]
    assert len(lines) == 1, frame
    return lines[0].decode()


def _delta(one: dict[str, Any]) -> str:
    if "choices" in one:
        return "".join(choice["delta"].get("content") or "" for choice in one["choices"])
    return str(one.get("delta", {}).get("text", ""))


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: tuple[str, int] | str, **options: Any) -> Self:
        """``address`` is (host, port) or the path of a unix socket; ``limit`` bounds what is read ahead."""
        if isinstance(address, str):
            return cls(*await asyncio.open_unix_connection(address, **options))
        return cls(*await asyncio.open_connection(*address, **options))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def post(self, path: str, body: object, **headers: str) -> Answered:
        self.send(request("POST", path, encoded(body), **headers))
        return await self.answer()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of an answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.rstrip("\r\n").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (field.partition(":") for field in rest)}
        return int(line.split()[1]), headers

    async def chunk(self) -> bytes:
        """Read one chunk; the last one is empty. Raises IncompleteReadError if the connection ends."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def frame(self) -> bytes:
        """Read chunks until one ends a frame; return them joined."""
        out = b""
        while not out.endswith(b"\n\n"):
            piece = await self.chunk()
            if not piece:
                return out
            out += piece
        return out

    async def answer(self, *, bodiless: bool = False) -> Answered:
        """Read one whole answer, however it is framed."""
        status, headers = await self.head()
        if bodiless or status == 204:
            return Answered(status, headers, b"")
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
            return Answered(status, headers, body)
        if headers.get("transfer-encoding") != "chunked":
            return Answered(status, headers, await self.reader.read())
        pieces = []
        try:
            while piece := await self.chunk():
                pieces.append(piece)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return Answered(status, headers, b"".join(pieces), whole=False)
        return Answered(status, headers, b"".join(pieces))

    async def rest(self) -> bytes:
        """Read until the gateway closes; a reset is a close too."""
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read()
        return b""

    def leave(self) -> None:
        """Go without a word."""
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


def encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request; an underscore in a header's name stands for a hyphen."""
    fields = {"host": "gateway", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if method not in ("GET", "HEAD", "OPTIONS"):
        fields.setdefault("content-length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
