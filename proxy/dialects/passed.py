"""What is passed on without being translated: images, speech, files, and whatever a provider has paths for.

The bytes of an answer are the client's as they are. They are looked into for what they tell about usage and about what was made, and
for whether there is an error where an answer should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from proxy.dialects import refusal
from proxy.dialects.answer import Made
from proxy.dialects.appraisal import NOTHING, Appraisal
from proxy.dialects.asked import Asked
from proxy.dialects.chat.decode import read_usage as read_chat_usage
from proxy.dialects.sse import Event, Splitter
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, count, inclusive

Form = Literal["document", "events", "bytes"]
"""JSON that is looked at whole, events that are looked at as they come, and what is only passed on."""

HELD = 1024 * 1024
"""Bytes of a document that are held until it is whole. A longer one holds images: it goes on as it comes, and its end is looked at."""
_TAIL = 16 * 1024
"""Bytes of the end of such a document: what it tells about usage stands there."""
_BEGINNING = 4 * 1024
"""Bytes of its beginning, where it says what it is called."""
_CALLED = re.compile(
    rb'\s*\{(?:\s*"[^"\\]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[\w.+-]+)\s*,)*?\s*"id"\s*:\s*"([^"\\]*)"'
)
_SAFE = re.compile(rb"[\x20-\x7e]{1,512}")
_HEADERS = (b"content-disposition", b"content-range", b"accept-ranges")
"""What an answer's head says of its bytes, beside what they are."""


@dataclass(slots=True, kw_only=True)
class Opaque(Asked):
    """A request that is passed on, and what is known of its tokens."""

    sealed: bool = True
    appraisal: Appraisal = NOTHING

    def estimate_input(self) -> int:
        return self.appraisal.input

    @property
    def output_limit(self) -> int | None:
        return self.appraisal.output

    @property
    def choices(self) -> int:
        return self.appraisal.answers

    @property
    def heartbeat(self) -> bytes | None:
        """None: what is passed on is the provider's alone."""
        return None


def answer_lines(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the header lines of an upstream's answer that go on with its bytes."""
    lines = [b"Content-Type: %b\r\n" % content_type(headers)]
    for name in _HEADERS:
        value = headers.get(name)
        if value is not None and _SAFE.fullmatch(value):
            lines.append(b"%b: %b\r\n" % (name, value))
    # A client's own file comes back under our name: no browser shall take it for a page of ours.
    lines.append(b"X-Content-Type-Options: nosniff\r\n")
    return b"".join(lines)


def form_of(status: int, headers: Mapping[bytes, bytes]) -> Form:
    """Return how the body that follows this head is to be looked at."""
    kind = content_type(headers).lower()
    if status == 204:
        # There is no body to pass on.
        return "document"
    if b"event-stream" in kind:
        return "events"
    if b"json" in kind.partition(b";")[0] and b"jsonl" not in kind and status != 206:
        return "document"
    return "bytes"


def content_type(headers: Mapping[bytes, bytes]) -> bytes:
    """Return what the body of an answer is said to be."""
    kind = headers.get(b"content-type", b"")
    return kind if _SAFE.fullmatch(kind) else b"application/octet-stream"


def read_usage(document: object, flags: Flags) -> Usage | None:
    """Return what a document or an event tells about usage; None if it tells nothing that is counted in tokens."""
    told = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(told, dict):
        return None
    if "prompt_tokens" in told:
        return read_chat_usage(told, flags)
    if "input_tokens" in told:
        details = told.get("input_token_details") or told.get("input_tokens_details")
        details = details if isinstance(details, dict) else {}
        return inclusive(
            input_total=count(told["input_tokens"]),
            output=count(told.get("output_tokens")),
            audio_input=count(details.get("audio_tokens")),
            cache_read=count(details.get("cached_tokens")),
        )
    return Usage(input=count(told["total_tokens"])) if "total_tokens" in told else None


def free(_: Passed) -> Usage:
    """Return what an answer has used that costs nothing."""
    return Usage()


class Passed:
    """An answer that goes on as it comes; a document of up to ``HELD`` bytes goes on when it is whole.

    ``estimate`` takes the answer of which nothing was told. ``frame`` writes an error as an event; ``read_made`` tells what a
    document says is kept, ``read`` what it says was used, which is in its ``member``.
    """

    events = 0
    """What an event holds here says nothing of the model's events in a chat."""

    def __init__(
        self,
        form: Form,
        flags: Flags,
        estimate: Callable[[Passed], Usage],
        frame: Callable[[GatewayError], bytes],
        read_made: Callable[[dict[str, Any]], Sequence[Made]] = lambda _: (),
        read: Callable[[object, Flags], Usage | None] = read_usage,
        *,
        member: str = "usage",
    ) -> None:
        self.form = form
        self.made: Sequence[Made] = ()
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self.answer_id = ""
        self.continuation: str | None = None
        self.reported: Usage | None = None
        self._flags = flags
        self._estimate = estimate
        self._frame = frame
        self._read_made = read_made
        self._read = read
        self._member = member
        self._splitter = Splitter()
        self._events = 0
        self._gathered: list[bytes] = []
        self.size = 0
        """Bytes that have come."""
        self._tail = b""

    @property
    def seen(self) -> int:
        """About how many tokens have come: one for each event."""
        return self._events

    @property
    def is_whole(self) -> bool:
        """Whether it has come to its end."""
        return self.ended and self.error is None

    @property
    def is_cut(self) -> bool:
        """Whether a failure can only be told by an answer that has no end."""
        return self.form != "events"

    def feed(self, data: bytes) -> bytes:
        self.size += len(data)
        if self.form == "bytes":
            self.committed = True
            return data
        if self.form == "events":
            return self._feed_events(data)
        if self.committed:
            self._tail = (self._tail + data)[-_TAIL:]
            return data
        self._gathered.append(data)
        if self.size <= HELD:
            return b""
        self.committed = True
        out = b"".join(self._gathered)
        self._gathered.clear()
        self._tail = out[-_TAIL:]
        called = _CALLED.match(out[:_BEGINNING])
        if called is not None:
            self.answer_id = called[1].decode("utf-8", "replace")
            self.made = self._read_made({"id": self.answer_id})
        return out

    def finish(self) -> bytes:
        self.ended = True
        if self.form == "events":
            for event in self._splitter.finish():
                self._look(event)
        elif self.form == "document":
            return self._finish_document()
        return b""

    def fail(self, error: GatewayError) -> bytes:
        self.ended = True
        self.error = error
        # A frame of its own, wherever the upstream stopped.
        return b"" if self.is_cut else b"\n\n" + self._frame(error)

    def usage(self) -> Usage:
        """Return what was told, else what is to be had without."""
        return self.reported or self._estimate(self)

    # Steps.

    def _feed_events(self, data: bytes) -> bytes:
        for event in self._splitter.feed(data):
            self._look(event)
            if self.error is not None:
                # Its text may be about us: the client gets ours.
                return self.fail(self.error)
            self.committed = True
        return data

    def _look(self, event: Event) -> None:
        data = event.data
        self._events += 1
        if b'"usage"' not in data and b'"error"' not in data:
            return
        document = _parsed(data)
        if not isinstance(document, dict):
            return
        if document.get("error"):
            self.error = refusal.classify_event(document["error"])
            return
        self.answer_id = self.answer_id or _text(document.get("id"))
        self.reported = self._read(document, self._flags) or self.reported

    def _finish_document(self) -> bytes:
        if self.committed:
            told = re.split(rb'"%b"\s*:\s*(?=\{)' % self._member.encode(), self._tail)
            if len(told) > 1:
                self.reported = self._read({self._member: _leading_object(told[-1])}, self._flags)
            return b""
        body = b"".join(self._gathered)
        document = _parsed(body)
        if document is None and body.strip() not in (b"", b"null"):
            self.error = GatewayError(Kind.MALFORMED, evidence="a document that is no JSON")
            return b""
        if isinstance(document, dict):
            if document.get("error") and not (document.get("id") or document.get("object")):
                self.error = refusal.classify_event(document["error"])
                return b""
            self.answer_id = _text(document.get("id"))
            self.made = self._read_made(document)
        self.reported = self._read(document, self._flags)
        self.committed = True
        return body


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _leading_object(data: bytes) -> object:
    """Return the JSON object that ``data`` begins with; None if there is none. What tells usage holds no braces in strings."""
    depth = 0
    for place, byte in enumerate(data):
        depth += (byte == 0x7B) - (byte == 0x7D)
        if not depth:
            return _parsed(data[: place + 1])
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
