"""An account's upstream that is well until a test makes it ill, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Self

from tests.integration import spoken
from tests.integration.scripted import Cut, Request, Reset, Scripted, Step, play, whole

TELL_TALE = "tell-tale"
"""Stands in everything that must never reach a client."""
_MARKER = re.compile(rb"ask-\d+")

_ERROR = {"error": {"message": TELL_TALE, "type": "unknown"}}
_RETRY_INFO = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": TELL_TALE,
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}],
    }
}
_EMPTY_OPENAI = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "30s"}

REFUSE = "connection refused"
HANG = "connection hangs"
SILENT = "metadata, then silence"
MUTE = "no head"
RESET = "reset"
TRUNCATED = "cut after content"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The answer that an upstream would give if it were well."""

    dialect: str
    stream: bool
    text: str


def refusal(status: str, body: object = None, **headers: str) -> list[Step]:
    """Return the steps of an upstream that refuses."""
    told = json.dumps(_ERROR if body is None else body).encode()
    return [whole(told, status, **spoken.JSON, **headers)]


def _in_half_a_minute() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=30)


def _anthropic_empty() -> dict[str, str]:
    name = "anthropic_ratelimit_requests"
    return {
        f"{name}_remaining": "0",
        f"{name}_reset": _in_half_a_minute().strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _begun(wanted: Wanted, *, content: bool) -> bytes:
    """Return the beginning of an answer: of a stream its metadata, and its first text if ``content``; of a document a part."""
    if wanted.stream:
        metadata = spoken.metadata(wanted.dialect)
        if content:
            half = wanted.text[: len(wanted.text) // 2]
            return spoken.HEAD + spoken.chunk(metadata + spoken.text(wanted.dialect, half))
        # Only what is not followed by content may never be seen.
        return spoken.HEAD + spoken.chunk(metadata.replace(b'"m"', f'"{TELL_TALE}"'.encode()))
    document = spoken.told(wanted.dialect, wanted.text)
    head = document.index(b"\r\n\r\n") + 4
    return document[: head + (len(document) - head) // 2 if content else head]


def _error_event(wanted: Wanted) -> list[Step]:
    if not wanted.stream:
        return refusal("200 OK")
    failed = spoken.failure(wanted.dialect).replace(b"inside", TELL_TALE.encode())
    return [_begun(wanted, content=False) + spoken.chunk(failed) + spoken.LAST]


ILLNESSES: dict[str, Callable[[Wanted], list[Step]] | None] = {
    REFUSE: None,
    HANG: None,
    "401": lambda _: refusal("401 No"),
    "402": lambda _: refusal("402 Pay"),
    "403": lambda _: refusal("403 No"),
    "429": lambda _: refusal("429 Slow"),
    "429 retry-after": lambda _: refusal("429 Slow", retry_after="30"),
    "429 date": lambda _: refusal(
        "429 Slow", retry_after=format_datetime(_in_half_a_minute(), usegmt=True)
    ),
    "429 retry-after-ms": lambda _: refusal("429 Slow", retry_after_ms="30000"),
    "429 RetryInfo": lambda _: refusal("429 Slow", _RETRY_INFO),
    "429 x-ratelimit-reset": lambda _: refusal("429 Slow", **_EMPTY_OPENAI),
    "429 anthropic reset": lambda _: refusal("429 Slow", **_anthropic_empty()),
    "500": lambda _: refusal("500 No"),
    "503": lambda _: refusal("503 No"),
    "529": lambda _: refusal("529 No"),
    "error event": _error_event,
    SILENT: lambda wanted: [_begun(wanted, content=False)],
    MUTE: lambda _: [],
    "web page": lambda _: [
        whole(b"<!doctype html><title>tell-tale</title>", content_type="text/html")
    ],
    RESET: lambda _: [Reset()],
    "cut before content": lambda wanted: [_begun(wanted, content=False), Cut()],
    TRUNCATED: lambda wanted: [_begun(wanted, content=True), Cut()],
    "error inside a 200": lambda _: [
        whole(json.dumps({"error": TELL_TALE}).encode(), **spoken.JSON)
    ],
}
"""What an account can suffer from, as what it plays; None is for what befalls its listener. A hint says half a minute."""
HINTED = tuple(name for name in ILLNESSES if name.startswith("429 "))
SLOW = frozenset((HANG, SILENT, MUTE))
"""What takes as long as a timeout."""


def _well(wanted: Wanted) -> list[Step]:
    half = len(wanted.text) // 2
    if wanted.stream:
        return [spoken.streamed(wanted.dialect, wanted.text[:half], wanted.text[half:])]
    return [spoken.told(wanted.dialect, wanted.text)]


class Upstream(Scripted):
    """An account's upstream. ``illness`` tells for each request what it suffers from, None if it is well."""

    def __init__(self, name: str, dialect: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._answer, tls)
        self.name = name
        self.dialect = dialect
        self.illness: Callable[[str], str | None] = _none
        self.latency = 0.0
        """Seconds before it answers, well or ill."""
        self.asked: Counter[str] = Counter()
        """How often each request came here."""
        self.hits: list[float] = []
        self.answers: list[float] = []
        """The loop's times of requests, and of good answers."""
        self._shut = ExitStack()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        self._shut.close()

    async def fall_ill(self, illness: str) -> None:
        """Suffer from ``illness`` from now on, whoever asks."""
        self.illness = lambda _: illness
        if ILLNESSES[illness] is None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.sleep(0.01)  # the loop closes the listener in a later turn
            bound = self._shut.enter_context(_bound(self.port))
            if illness == HANG:
                bound.listen(0)
                for _ in range(2):  # a full queue answers no further SYN
                    one = self._shut.enter_context(socket.socket())
                    one.setblocking(False)  # noqa: FBT003 - the socket's own
                    one.connect_ex(bound.getsockname())

    async def recover(self) -> None:
        """Be well from now on."""
        self.illness = _none
        if not self._server.is_serving():
            self._shut.close()
            await self._listen()

    def forget(self) -> None:
        """Forget what it was asked."""
        self.asked.clear()
        self.hits.clear()
        self.answers.clear()

    def said_to(self, marker: str) -> str:
        """Return the text that it answers the request ``marker`` with."""
        return f"<{self.name} to {marker}>"

    async def _listen(self) -> None:
        bound = _bound(self.port)
        self.port = bound.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, sock=bound, limit=1 << 20, ssl=self._tls
        )

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> None:
        found = _MARKER.search(request.body)
        assert found is not None, request.body
        marker = found[0].decode()
        self.asked[marker] += 1
        now = asyncio.get_running_loop().time
        self.hits.append(now())
        stream = bool(json.loads(request.body).get("stream"))
        wanted = Wanted(self.dialect, stream, self.said_to(marker))
        illness = self.illness(marker)
        suffers = ILLNESSES[illness] if illness is not None else None
        await asyncio.sleep(self.latency)
        if suffers is not None:
            await play(suffers(wanted), writer)
            if illness in SLOW:
                await reader.read()  # until the gateway has had enough
                writer.close()
            return
        await play(_well(wanted), writer)
        self.answers.append(now())


def _none(_: str) -> None:
    """Return what ails somebody who is well."""


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    # Two may hold the port for a moment: the loop closes the old one late.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
