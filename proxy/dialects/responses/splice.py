"""Responses that pass through, from an upstream that speaks them too."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from proxy.dialects.depth import MAX_DEPTH, exceeds
from proxy.dialects.responses.decode import response_usage
from proxy.dialects.responses.encode import error_frame
from proxy.dialects.responses.shapes import kept, told_error
from proxy.dialects.splice import NamedSplice, said_in
from proxy.errors import GatewayError
from proxy.providers import Flags


class ResponsesSplice(NamedSplice):
    """OpenAI Responses passed through."""

    PLAIN = b"event: response.output_text.delta\ndata: {"
    # Each event has a number of its own in front of the text, so no two are alike.
    OPENING = b""
    ENDING = None

    def __init__(
        self,
        request_id: str,
        flags: Flags,
        estimate_input: Callable[[], int],
        *,
        keeps: bool = False,
        pace: float | None = None,
    ) -> None:
        """``keeps``: the client did not forbid that the response be kept."""
        super().__init__(request_id, flags, estimate_input, pace=pace)
        self._response: dict[str, Any] = {}
        self._last = b""
        self._keeps = keeps

    def _plain(self, whole: bytes) -> int:
        count = super()._plain(whole)
        if count:
            self._last = whole
        return count

    def _block(self, block: bytes) -> bytes:
        out = super()._block(block)
        if b'"sequence_number"' in out:
            self._last = out
        return out

    def _look(self, kind: str, document: dict[str, Any]) -> str | None:
        response = document.get("response")
        if kind == "error":
            self._refused(document.get("error") or document)
        elif kind == "response.failed":
            self._refused(response.get("error") if isinstance(response, dict) else None)
        elif kind in ("response.completed", "response.incomplete"):
            self.ended = self.committed = True
        elif kind not in _METADATA:
            self.committed = True
            if kind.endswith(".delta"):
                return said_in(document, ("delta",))
        if isinstance(response, dict):
            self._response = response
            self.answer_id = self.answer_id or str(response.get("id") or "")
            if self._keeps and (self.ended or not self.made):
                self.made = kept(response)
            if self.ended and self.error is None:
                self.reported = response_usage(response, self._flags)
        return None

    def _error_frame(self, error: GatewayError) -> bytes:
        """Return the failure of the response that the client has been told of, or of one of our own."""
        if not self.committed or not self._response:
            return error_frame(error, self._request_id)
        begun = self._response
        if exceeds(begun, MAX_DEPTH):
            begun = {"id": self.answer_id, "object": "response"}
        numbers = _SEQUENCE_NUMBER.findall(self._last)
        failed = {
            "type": "response.failed",
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
            "response": {**begun, "status": "failed", "error": told_error(error)},
        }
        return b"event: response.failed\ndata: " + orjson.dumps(failed) + b"\n\n"


# A number that is longer than any real one is no number that ours could follow.
_SEQUENCE_NUMBER = re.compile(rb'"sequence_number": ?(\d{1,15})(?!\d)')


_METADATA = frozenset(
    (
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.output_item.added",
        "response.content_part.added",
    )
)
"""What comes before content, and is held back with it: nothing in these events is the model's word."""
