"""Anthropic messages that pass through, from an upstream that speaks them too."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from proxy.dialects.messages.decode import read_usage
from proxy.dialects.messages.encode import error_frame
from proxy.dialects.splice import NamedSplice, said_in
from proxy.errors import GatewayError
from proxy.providers import Flags
from proxy.usage import Usage, at_least


class MessagesSplice(NamedSplice):
    """Anthropic messages passed through."""

    PLAIN = b"event: content_block_delta\ndata: {"
    OPENING = b'"delta":{"type":"text_delta","text":"'
    ENDING = re.compile(rb'" *\} *\} *\n\n')

    def __init__(
        self,
        request_id: str,
        flags: Flags,
        estimate_input: Callable[[], int],
        *,
        pace: float | None = None,
    ) -> None:
        super().__init__(request_id, flags, estimate_input, pace=pace)
        self._usage: dict[str, Any] = {}
        self._told_output = False
        """The output was told after it had come: what the first event says of it is no count of it."""

    def _plain(self, whole: bytes) -> int:
        count = super()._plain(whole)
        # A signature is no text, however long it is.
        return 0 if count == 1 and b'"signature_delta"' in whole else count

    def usage(self) -> Usage:
        found = super().usage()
        if self._told_output:
            return found
        found = at_least(found, self.seen)
        if self.ended and self.error is None:
            return found
        return found._replace(estimated=True)

    def _look(self, kind: str, document: dict[str, Any]) -> str | None:
        if kind == "error" or document.get("error"):
            self._refused(document)
        elif kind == "message_start":
            message = document.get("message")
            if isinstance(message, dict):
                self.answer_id = str(message.get("id") or "")
                self._merge(message.get("usage"))
        elif kind == "message_delta":
            usage = document.get("usage")
            self._merge(usage)
            self._told_output |= isinstance(usage, dict) and "output_tokens" in usage
            self.committed = True
        elif kind == "message_stop":
            self.ended = self.committed = True
        elif kind == "content_block_delta":
            self.committed = True
            return said_in(document.get("delta"), ("text", "thinking", "partial_json"))
        elif kind == "content_block_start":
            block = document.get("content_block")
            self.committed = self.committed or not _is_empty(block)
        return None

    def _merge(self, usage: object) -> None:
        """Note cumulative counts: a field that is told again replaces, one that is not stays."""
        if isinstance(usage, dict):
            self._usage.update({key: value for key, value in usage.items() if value is not None})
            self.reported = read_usage(self._usage, self._flags)

    def _error_frame(self, error: GatewayError) -> bytes:
        return error_frame(error, self._request_id)


def _is_empty(block: object) -> bool:
    """Tell whether a block has only been opened: its text or thinking is yet to come."""
    return (
        isinstance(block, dict)
        and block.get("type") in ("text", "thinking")
        and not (block.get("text") or block.get("thinking"))
    )
