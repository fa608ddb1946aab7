"""A Gemini upstream's answer, played on a turn.

Each chunk is a whole document of the shape of an unstreamed answer, so both are read by the same code.
The end is held until the body ends: usage, or a further chunk, may follow the one with the finish
reason. Of a stream only the first candidate is read.

An answer may stop with a token instead of an end ("long decode"). ``continuation`` then holds it: send
the same request with that ``continuationToken``, call ``resume`` and feed what comes; or ``give_up``.
"""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects import envelope, refusal
from proxy.dialects.depth import loads
from proxy.dialects.gemini.reasons import (
    CONTINUATION,
    block_word,
    finish_word,
    stop_reason,
)
from proxy.dialects.gemini.usage import Tally, read_usage
from proxy.dialects.turn import StopReason, Turn
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage

__all__ = ["Decoder", "read_usage"]


class Decoder:
    """See ``proxy.dialects.turn.Decoder``. ``ignored`` counts events that were no JSON object."""

    __slots__ = (
        "_begun",
        "_calls",
        "_detail",
        "_emitted",
        "_hops",
        "_tally",
        "_token",
        "_turn",
        "_word",
        "continuation",
        "ended",
        "ignored",
    )

    def __init__(self, turn: Turn, flags: Flags) -> None:
        self._turn = turn
        self._tally = Tally(flags)
        self._begun = False
        self._hops = 0
        self._calls = 0
        self._emitted = False
        self._word = ""
        self._detail: str | None = None
        self._token = ""
        self.continuation: str | None = None
        self.ended = False
        self.ignored = 0

    # What the upstream sent.

    def event(self, name: bytes | None, data: bytes) -> None:  # noqa: ARG002 - Gemini names no events
        """Take one event's data. Hot path: once a chunk."""
        if self.ended:
            return
        try:
            chunk = loads(data)
        except orjson.JSONDecodeError:
            chunk = None
        if type(chunk) is dict:
            self._chunk(chunk)
        else:
            self.ignored += 1

    def answer(self, document: object) -> None:
        """Take a whole answer: one document, or the list of chunks that a stream without SSE is."""
        entries = document if isinstance(document, list) else [document]
        chunks: list[dict[str, Any]] = [entry for entry in entries if isinstance(entry, dict)]
        for chunk in chunks:
            if not self.ended:
                self._chunk(chunk)
        if self.ended:
            return
        if not any(_candidates(chunk) for chunk in chunks) and not self._word:
            told = "an answer without candidates"
            self._fail(GatewayError(Kind.MALFORMED, evidence=told))
            return
        self._word = self._word or "STOP"
        self._finish_candidate(more=True)
        if len(chunks) == 1 and self.continuation is None and not self.ended:
            self._alternatives(_candidates(chunks[0]))
        if self.continuation is None:
            self.ended = True

    def finish(self) -> None:
        """End the turn at the body's end, unless the answer is to be continued."""
        if self.ended:
            return
        if self._word:
            self._finish_candidate(more=False)
        else:
            self._fail(GatewayError(Kind.DISCONNECTED))

    # Continuing an answer.

    def resume(self) -> None:
        """Get ready for the answer to the request that continues this one."""
        self.continuation = None
        self._hops += 1
        self._word = self._token = ""
        self._tally.hop()

    def give_up(self) -> None:
        """End an answer that cannot be continued as one that grew too long."""
        self.continuation = None
        if not self.ended:
            self._end(StopReason.LENGTH)

    # Chunks.

    def _chunk(self, chunk: dict[str, Any]) -> None:
        error = chunk.get("error")
        if error:
            self._fail(refusal.classify_event(error))
            return
        if not self._begun:
            self._begun = True
            self._turn.begin(_text(chunk.get("modelVersion")), _text(chunk.get("responseId")))
        if self._tally.see(chunk):
            usage = self._tally.usage
            if usage is not None:
                self._turn.usage(usage)
        candidates = _candidates(chunk)
        if candidates:
            candidate = candidates[0]
            # A chunk of a stream may hold another candidate's part alone.
            if not candidate.get("index"):
                self._candidate(candidate)
        elif "promptFeedback" in chunk:
            self._blocked(chunk["promptFeedback"])

    def _candidate(self, candidate: dict[str, Any]) -> None:
        content = candidate.get("content")
        if type(content) is dict:
            parts = content.get("parts")
            if type(parts) is list:
                self._parts(parts)
        word = finish_word(candidate.get("finishReason"))
        if word:
            self._word = word
            detail = candidate.get("finishMessage")
            self._detail = detail if isinstance(detail, str) else None
            self._token = _text(candidate.get("continuationToken"))

    def _parts(self, parts: list[Any]) -> None:
        turn = self._turn
        for part in parts:
            if type(part) is not dict:
                continue
            text = part.get("text")
            if type(text) is str:
                if text:
                    self._emitted = True
                    if part.get("thought") is True:
                        turn.thinking(text)
                    else:
                        turn.text(text)
            elif "functionCall" in part:
                self._call(part)
            elif "inlineData" in part:
                self._media(part["inlineData"])

    def _call(self, part: dict[str, Any]) -> None:
        call = part["functionCall"]
        name = _text(call.get("name")) if isinstance(call, dict) else ""
        if not name:
            return
        seal = _text(part.get("thoughtSignature"))
        args = call.get("args")
        index = self._calls
        self._calls += 1
        self._emitted = True
        turn = self._turn
        turn.tool_call(
            index, _text(call.get("id")), name, envelope.wrap("gem", seal) if seal else ""
        )
        turn.arguments(index, orjson.dumps(args).decode() if isinstance(args, dict) else "{}")
        turn.call_done(index)

    def _media(self, blob: object) -> None:
        if not isinstance(blob, dict):
            return
        mime, data = _text(blob.get("mimeType")), _text(blob.get("data"))
        if mime.startswith("image/") and data:
            self._emitted = True
            self._turn.image(mime, data)

    def _blocked(self, feedback: object) -> None:
        """The prompt was refused: there is no candidate, and none will come."""
        if not isinstance(feedback, dict):
            return
        word = block_word(feedback.get("blockReason"))
        if not word:
            return
        said = _text(feedback.get("blockReasonMessage")) or word
        self._emitted = True
        if self._tally.usage is None:
            self._turn.usage(Usage())  # recorded: a refused prompt is not billed
        self._turn.refusal(said)
        self._word, self._detail = "SAFETY", said

    def _alternatives(self, candidates: list[dict[str, Any]]) -> None:
        """Play the candidates after the first, each as an answer of its own."""
        for place, candidate in enumerate(candidates):
            index = candidate.get("index")
            index = index if type(index) is int and 0 < index < len(candidates) else place
            if index == 0:
                continue
            self._turn.choice(index)
            self._calls = 0
            self._word = "STOP"
            self._detail = None
            self._candidate(candidate)
            reason = stop_reason(self._word, calls=self._calls > 0)
            self._turn.end(reason, None, self._detail)

    # The end.

    def _finish_candidate(self, *, more: bool) -> None:
        """End the turn as the finish reason says; with ``more`` another candidate may follow."""
        if self._word == CONTINUATION and self._token:
            self.continuation = self._token
            return
        reason = stop_reason(self._word, calls=self._calls > 0)
        if reason is StopReason.BROKEN and not self._emitted:
            told = f"{self._word} {self._detail or ''}"
            self._fail(GatewayError(Kind.MALFORMED, evidence=told))
            return
        self._turn.end(reason, None, self._detail)
        self.ended = not more

    def _end(self, reason: StopReason) -> None:
        self.ended = True
        self._turn.end(reason)

    def _fail(self, error: GatewayError) -> None:
        if self._hops:
            # What came before the hop is an answer; it is only shorter than it would have been.
            self._end(StopReason.LENGTH)
            return
        self.ended = True
        self._turn.fail(error)


def _candidates(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    candidates = chunk.get("candidates")
    if type(candidates) is not list:
        return []
    return [candidate for candidate in candidates if type(candidate) is dict]


def _text(value: object) -> str:
    return value if type(value) is str else ""
