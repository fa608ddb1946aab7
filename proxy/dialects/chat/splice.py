"""Chat completions that pass through, from an upstream that speaks them too."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from proxy.dialects.chat.decode import read_usage
from proxy.dialects.chat.shapes import cost_members, error_frame
from proxy.dialects.depth import MAX_DEPTH, exceeds
from proxy.dialects.splice import LEARNABLE, Splice, reframed, said_in, text_at
from proxy.dialects.sse import parse_block
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage


class ChatSplice(Splice):
    """Chat completions passed through.

    ``include_usage`` says whether the client asked for the usage chunk; the upstream is always asked. ``charge`` returns what
    the key pays for a usage, in micro-USD, which that chunk then tells.
    """

    def __init__(
        self,
        request_id: str,
        flags: Flags,
        estimate_input: Callable[[], int],
        *,
        include_usage: bool,
        charge: Callable[[Usage], int] | None = None,
        pace: float | None = None,
    ) -> None:
        super().__init__(request_id, flags, estimate_input, pace=pace)
        self._include_usage = include_usage
        self._charge = charge if include_usage else None
        self._finished = False

    def usage(self) -> Usage:
        found = super().usage()
        if self._finished or (self.ended and self.error is None):
            return found
        # Some providers tell the usage so far with every chunk.
        return found._replace(estimated=True)

    def _plain(self, whole: bytes) -> int:
        count = _count_plain(whole)
        if count == 1:
            self._learn(whole)
        return count

    def _learn(self, frame: bytes) -> None:
        start = frame.find(_CONTENT) + len(_CONTENT)
        if start < len(_CONTENT) or len(frame) > LEARNABLE:
            return
        end = text_at(frame, start).end()
        padding = frame.find(_PADDING, end)
        self._before, self._after = frame[:start], frame[end:]
        self._start = start
        if end > start and frame[end : end + 1] == b'"':
            self._around, self._copies = len(frame) - (end - start), 1
        self._ending = None if padding < 0 else _padded(frame[end : padding + len(_PADDING)])

    def _block(self, block: bytes) -> bytes:
        event = parse_block(block)
        if event is None:
            return reframed(block) if block.startswith(b":") else b""
        if event.data == b"[DONE]":
            self.ended = True
            return b"data: [DONE]\n\n"
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return self._unread(block)
        if not isinstance(chunk, dict):
            return b""
        return self._chunk(block, event.data, chunk)

    def _chunk(self, block: bytes, data: bytes, chunk: dict[str, Any]) -> bytes:
        self.answer_id = self.answer_id or str(chunk.get("id") or "")
        usage = chunk.get("usage")
        groq = chunk.get("x_groq")
        if not usage and isinstance(groq, dict):
            usage = groq.get("usage")
        if isinstance(usage, dict) and usage:
            tier = chunk.get("service_tier")
            tier = tier if isinstance(tier, str) else None
            self.reported = read_usage(usage, self._flags, tier=tier)
        if chunk.get("error"):
            self._refused(chunk["error"])
            return b""
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            asked = (self._include_usage and isinstance(usage, dict)) or "moderation" in chunk
            return self._with_cost(block, data, chunk) if asked else b""
        mended = False
        last = False
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            if choice.get("error"):
                self._refused(choice["error"])
                return b""
            if choice.get("finish_reason"):
                self._finished = self.committed = last = True
            delta = choice.get("delta")
            if delta is None:
                choice["delta"] = {}
                mended = True
            elif not self.committed and isinstance(delta, dict) and _says_something(delta):
                self.committed = True
        said = "".join(map(_said, choices))
        if said or (self.committed and not last):
            self._saw(said)
        if not mended:
            # Some providers tell the usage with the reason for the end, and have no chunk for it.
            return self._with_cost(block, data, chunk) if last else reframed(block)
        if b'"delta":null' in data:
            return b"data: " + data.replace(b'"delta":null', b'"delta":{}') + b"\n\n"
        return _rewritten(block, chunk)

    def _with_cost(self, block: bytes, data: bytes, chunk: dict[str, Any]) -> bytes:
        """Return a chunk with what the key pays in its usage, where it has one and the client asked for it."""
        usage = chunk.get("usage")
        if self._charge is None or self.reported is None or not isinstance(usage, dict):
            return reframed(block)
        told = cost_members(self._charge(self.reported))
        opening = _USAGE.search(data)
        if (
            opening is not None
            and usage
            and usage.keys().isdisjoint(("cost", "cost_micro"))
            and data.count(b'"usage"') == 1
            and b"\n" not in data
        ):
            return b"data: %b%b,%b\n\n" % (data[: opening.end()], told, data[opening.end() :])
        # A reseller's own cost among others: what this key pays takes its place.
        chunk["usage"] = {**usage, **orjson.loads(b"{" + told + b"}")}
        return _rewritten(block, chunk)

    def _conclude(self) -> bytes:
        if self._finished:
            self.ended = True
            return b"data: [DONE]\n\n"
        return self.fail(GatewayError(Kind.DISCONNECTED))

    def _error_frame(self, error: GatewayError) -> bytes:
        return error_frame(error, self._request_id)


@lru_cache(maxsize=64)
def _padded(tail: bytes) -> re.Pattern[bytes]:
    """Return how OpenAI's padded frames end: ``tail``, then random letters against those who count bytes on the wire."""
    return re.compile(re.escape(tail) + rb'[\w-]*"}\n\n')


_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_CONTENT = b'"content":"'
_PADDING = b',"obfuscation":"'


def _count_plain(whole: bytes) -> int:
    """Return how many frames ``whole`` is if all of them are plain content, else 0.

    Plain is: one line a frame, each with one choice, a delta, an open finish_reason, and nothing that is to be looked into.
    Quotes inside a text are escaped, so the bytes searched for can only be JSON's own. What is spaced otherwise is not plain.
    """
    if not whole.startswith(b"data: {") or not whole.endswith(b"\n\n"):
        return 0
    count = whole.count(b"\n\ndata: {") + 1
    if (
        whole.count(b"\n") == 2 * count
        and whole.count(b'"finish_reason":null') == count
        and whole.count(b'"finish_reason"') == count
        and whole.count(b'"choices":[{') == count
        and whole.count(b'"delta":{') == count
        and whole.count(b'"usage"') == whole.count(b'"usage":null')
        and b'"error"' not in whole
        and b"\r" not in whole
    ):
        return count
    return 0


def _rewritten(block: bytes, chunk: dict[str, Any]) -> bytes:
    """Return the frame of ``chunk``, which ``block`` was before it was changed; as it came if it is nested too deep to be written."""
    if exceeds(chunk, MAX_DEPTH):
        return reframed(block)
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _said(choice: object) -> str:
    """Return what the model says in a choice of a chat chunk: text, thinking, arguments."""
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict):
        return ""
    calls = delta.get("tool_calls")
    called = [delta.get("function_call")]
    if isinstance(calls, list):
        called += [one.get("function") for one in calls if isinstance(one, dict)]
    said = said_in(delta, ("content", "reasoning_content", "reasoning", "refusal"))
    return said + "".join(said_in(one, ("arguments",)) for one in called)


def _says_something(delta: dict[str, Any]) -> bool:
    """Tell whether a chat delta holds content of any kind; a role is none."""
    return any(value for key, value in delta.items() if key not in ("role", "obfuscation"))
