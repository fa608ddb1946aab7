"""An upstream's answer on its way to the client, in the client's dialect.

There are four: a stream spliced (``proxy.dialects.splice``) or translated, and a whole document spliced or translated. The relay
feeds all of them the same way and asks them the same things.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import orjson

from proxy.dialects import refusal
from proxy.dialects.collected import Collected
from proxy.dialects.depth import loads
from proxy.dialects.reply import Encoder, Meter, Reply
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import Decoder
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage

MAX_HOPS = 32
"""How often a Gemini answer is continued before it is called too long."""


Made = tuple[str, str]
"""What something is that a provider keeps, and its id."""


class Answer(Protocol):
    """What the relay may ask of an answer.

    ``committed``: content has come, so no other account may be tried. ``ended``: nothing may follow. ``error``: the
    failure that ended it, whose frame ``feed`` or ``finish`` has returned. ``continuation``: the token with which the
    upstream wants to be asked on, after ``finish`` returned without an end.
    """

    @property
    def committed(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def error(self) -> GatewayError | None: ...
    @property
    def answer_id(self) -> str: ...
    @property
    def continuation(self) -> str | None: ...
    @property
    def made(self) -> Sequence[Made]:
        """What the upstream has said so far that it keeps, to be referred to by later requests."""

    @property
    def seen(self) -> int:
        """About how many tokens of output have come; 0 before the end of a document, which comes at once."""

    @property
    def events(self) -> int:
        """How many events with content have come; 0 for a document."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes for the client that ``data`` of the upstream's body gives."""

    def finish(self) -> bytes:
        """Return the bytes that the end of the upstream's body gives."""

    def fail(self, error: GatewayError) -> bytes:
        """End the answer with ``error``; return the frame that says so in a stream that has begun."""

    def usage(self) -> Usage:
        """Return what was consumed so far, as told or as estimated."""


class ContinuableDecoder(Decoder, Protocol):
    """A decoder of an upstream that can ask to be asked on (Gemini)."""

    continuation: str | None

    def resume(self) -> None: ...
    def give_up(self) -> None: ...


class Decoded(ABC):
    """An answer that is decoded: what a translated stream and a translated document have in common.

    ``document``: the upstream answers with one JSON document, not with a stream. What is kept of it is no business of a client
    that speaks another dialect.
    """

    made: Sequence[Made] = ()

    def __init__(self, decoder: Decoder, turn: Encoder | Collected, *, document: bool) -> None:
        self._decoder = decoder
        self._turn = turn
        self._splitter = Splitter()
        self._gathered: list[bytes] | None = [] if document else None
        self._hops = 0
        self.continuation: str | None = None

    @property
    def ended(self) -> bool:
        return self._turn.ended

    @property
    def error(self) -> GatewayError | None:
        return self._turn.error

    def finish(self) -> bytes:
        decoder = self._decoder
        if self._gathered is not None:
            _play_document(b"".join(self._gathered), decoder, self._turn)
            self._gathered = []
        else:
            for name, event in self._splitter.finish():
                if not decoder.ended:
                    decoder.event(name, event)
            if not decoder.ended:
                decoder.finish()
        self.continuation = getattr(decoder, "continuation", None)
        if self.continuation is not None:
            self._hops += 1
            if self._hops >= MAX_HOPS:
                return self.give_up()
        return self._rendered()

    def resume(self) -> None:
        """Get ready for the answer to the request that continues this one, where there is a ``continuation``."""
        self.continuation = None
        self._splitter = Splitter()
        cast(ContinuableDecoder, self._decoder).resume()

    def give_up(self) -> bytes:
        """End an answer that cannot be continued as one that grew too long; return the rest of it."""
        self.continuation = None
        cast(ContinuableDecoder, self._decoder).give_up()
        return self._rendered()

    def fail(self, error: GatewayError) -> bytes:
        self._turn.fail(error)
        return self._rendered()

    @abstractmethod
    def _rendered(self) -> bytes:
        """Return what the client gets of what has been decoded and was not rendered before."""


class Translation(Decoded):
    """A stream in another dialect: the upstream's events are decoded, and the verbs are encoded as they come."""

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        meter: Meter,
        reply: Reply,
        *,
        document: bool = False,
    ) -> None:
        super().__init__(decoder, encoder, document=document)
        self._encoder = encoder
        self._meter = meter
        self._reply = reply

    @property
    def answer_id(self) -> str:
        return self._encoder.answer_id

    @property
    def committed(self) -> bool:
        return self._encoder.committed

    @property
    def seen(self) -> int:
        return self._meter.seen

    @property
    def events(self) -> int:
        return 0 if self._gathered is not None else self._meter.events

    def feed(self, data: bytes) -> bytes:
        if self._gathered is not None:
            self._gathered.append(data)
            return b""
        decoder = self._decoder
        frames = self._encoder.frames
        out: list[bytes] = []
        for name, event in self._splitter.feed(data):
            decoder.event(name, event)
            # Taken after each event: what an encoder merges must not depend on how the upstream's bytes were read.
            out += frames
            frames.clear()
            if decoder.ended:
                break
        return b"".join(out)

    def usage(self) -> Usage:
        if self.ended and self.error is None:
            return self._meter.usage(self._reply.estimate_input)
        return self._meter.broken_off(self._reply.estimate_input)

    def _rendered(self) -> bytes:
        frames = self._encoder.frames
        taken = b"".join(frames)
        frames.clear()
        return taken


class Whole(Decoded):
    """A document in another dialect, gathered from an upstream that answers with a document or with a stream."""

    seen = events = 0

    def __init__(
        self,
        decoder: Decoder,
        collected: Collected,
        write_answer: Callable[[Collected, Reply, Usage], dict[str, Any]],
        reply: Reply,
        *,
        document: bool,
    ) -> None:
        super().__init__(decoder, collected, document=document)
        self._collected = collected
        self._write_answer = write_answer
        self._reply = reply
        self.committed = False
        self.answer_id = ""

    def feed(self, data: bytes) -> bytes:
        if self._gathered is not None:
            self._gathered.append(data)
            return b""
        for name, event in self._splitter.feed(data):
            if not self._decoder.ended:
                self._decoder.event(name, event)
        return b""

    def usage(self) -> Usage:
        if self._collected.reported is not None:
            return self._collected.reported
        meter = Meter()
        for choice in self._collected.choices:
            for part in choice.parts:
                meter.saw(getattr(part, "text", "") or getattr(part, "arguments", ""))
        return meter.usage(self._reply.estimate_input)

    def _rendered(self) -> bytes:
        if not self.ended or self.error is not None:
            return b""
        document = self._write_answer(self._collected, self._reply, self.usage())
        self.committed = True
        self.answer_id = _id_of(document)
        return orjson.dumps(document)


class WholeSplice:
    """A document of the client's own dialect: its bytes as they came, its usage read.

    ``read_usage`` takes the parsed document, and so does ``read_made``.
    """

    seen = events = 0

    def __init__(
        self,
        read_usage: Callable[[dict[str, Any]], Usage | None],
        estimate_input: Callable[[], int],
        read_made: Callable[[dict[str, Any]], Sequence[Made]] = lambda _: (),
    ) -> None:
        self.made: Sequence[Made] = ()
        self._read_made = read_made
        self._read_usage = read_usage
        self._estimate_input = estimate_input
        self._gathered: list[bytes] = []
        self._size = 0
        self._usage: Usage | None = None
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self.answer_id = ""
        self.continuation: str | None = None

    def feed(self, data: bytes) -> bytes:
        self._gathered.append(data)
        self._size += len(data)
        return b""

    def finish(self) -> bytes:
        self.ended = True
        body = b"".join(self._gathered)
        document = _parsed(body)
        self.error = _refused(document)
        if self.error is not None or not isinstance(document, dict):
            return b""
        self.committed = True
        self.answer_id = _id_of(document)
        self._usage = self._read_usage(document)
        self.made = self._read_made(document)
        return body

    def fail(self, error: GatewayError) -> bytes:
        self.ended = True
        self.error = error
        return b""

    def usage(self) -> Usage:
        return self._usage or Usage(
            input=self._estimate_input(), output=self._size // 8, estimated=True
        )


def _play_document(body: bytes, decoder: Decoder, turn: Encoder | Collected) -> None:
    """Decode a whole document, or fail the turn if it is an error or no JSON object."""
    document = _parsed(body)
    # A list is Gemini's stream without events; other dialects' decoders refuse it.
    error = None if isinstance(document, list) else _refused(document)
    if error is not None:
        turn.fail(error)
    else:
        decoder.answer(document)


def _id_of(document: dict[str, Any]) -> str:
    return str(document.get("id") or document.get("responseId") or "")


def _parsed(body: bytes) -> object:
    """Return the JSON of ``body``, or None. White space in front is what providers send to keep a connection alive."""
    try:
        return loads(body)
    except orjson.JSONDecodeError:
        return None


def _refused(document: object) -> GatewayError | None:
    """Return the failure that a document with status 200 stands for, if it is one.

    Resellers put an upstream's error at the top, or into the choice whose text it broke off.
    """
    if not isinstance(document, dict):
        return GatewayError(
            Kind.MALFORMED, evidence=f"expected a JSON object, found {type(document).__name__}"
        )
    if document.get("error"):
        return refusal.classify_event(document["error"])
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("error"):
            return refusal.classify_event(choice["error"])
    return None
