"""A Gemini stream that passes through to a Gemini client.

Every chunk is looked into: each tells the usage so far, and a chunk holds a sentence where other dialects send a token.
Google's SDKs stop at anything that is no chunk, so nothing but chunks goes out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

from proxy.dialects.gemini.encode import error_frame, write_error
from proxy.dialects.gemini.reasons import finish_word, is_blocked
from proxy.dialects.gemini.usage import Tally
from proxy.dialects.reply import Meter
from proxy.dialects.splice import Splice
from proxy.dialects.sse import parse_block
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, at_least


class GeminiSplice(Splice):
    """See ``proxy.dialects.splice.Splice``. ``array``: the client gets the chunks as one JSON array that grows."""

    def __init__(
        self,
        request_id: str,
        flags: Flags,
        estimate_input: Callable[[], int],
        *,
        array: bool,
        pace: float | None = None,
    ) -> None:
        super().__init__(request_id, flags, estimate_input, pace=pace)
        self._array = array
        self._opening = b"["
        self._finished = False
        self._blocked = False
        self._tally = Tally(flags)
        self._meter = Meter(pace)

    @property
    def seen(self) -> int:
        return self._meter.seen

    def usage(self) -> Usage:
        reported = self._tally.usage
        if reported is None and self._blocked:
            return Usage()
        if reported is None:
            return Usage(input=self._estimate_input(), output=self._meter.seen, estimated=True)
        if self.ended and self.error is None:
            return reported
        return at_least(reported, self._meter.seen)._replace(estimated=True)

    def _plain(self, whole: bytes) -> int:  # noqa: ARG002 - every chunk tells usage
        return 0

    def _block(self, block: bytes) -> bytes:
        event = parse_block(block)
        chunk = None if event is None else _parsed(event.data)
        if event is None or not isinstance(chunk, dict):
            return b""
        if chunk.get("error"):
            self._refused(chunk["error"])
            return b""
        self._look(chunk)
        # Data on several lines is one JSON text with line ends between its tokens.
        data = event.data.replace(b"\n", b" ")
        return self._element(data) if self._array else b"data: %b\n\n" % data

    def _look(self, chunk: dict[str, Any]) -> None:
        self.answer_id = self.answer_id or str(chunk.get("responseId") or "")
        self._tally.see(chunk)
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                self._look_at(candidate)
        self.events = self._meter.events
        if not candidates and is_blocked(chunk):
            self._blocked = self._finished = self.committed = True

    def _look_at(self, candidate: dict[str, Any]) -> None:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if not isinstance(part, dict):
                continue
            text = part.get("text")
            if isinstance(text, str):
                self._meter.saw(text)
                self.committed = self.committed or text != ""
            else:
                self.committed = True
                if isinstance(part.get("functionCall"), dict):
                    self._meter.saw(json.dumps(part["functionCall"].get("args")))
        if finish_word(candidate.get("finishReason")):
            self._finished = self.committed = True

    def _conclude(self) -> bytes:
        if not self._finished:
            return self.fail(GatewayError(Kind.DISCONNECTED))
        self.ended = True
        return b"]" if self._array else b""

    def _error_frame(self, error: GatewayError) -> bytes:
        if not self._array:
            return error_frame(error, self._request_id)
        return self._element(orjson.dumps(write_error(error, self._request_id))) + b"]"

    def _element(self, data: bytes) -> bytes:
        opening, self._opening = self._opening, b"\n,"
        return opening + data


def _parsed(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        # Half of a surrogate pair is no JSON to the quicker parser, but is to clients.
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
