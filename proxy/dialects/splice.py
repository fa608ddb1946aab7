"""Streams that pass through: the upstream speaks the client's dialect, so its bytes are the answer.

A splice looks at each read as bytes. Where the read holds nothing but plain content frames, it goes on as it came; else each
frame is looked into: usage is noted, errors end the answer, and the few things that break clients are put right (a frame
without data, an absent ``delta``, a stream without its end marker). The fast look and the slow one agree; a property test
holds them to it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import orjson

from proxy.dialects import refusal
from proxy.dialects.answer import Made
from proxy.dialects.chat.decode import read_usage as read_chat_usage
from proxy.dialects.chat.encode import cost_members
from proxy.dialects.chat.encode import error_frame as chat_error_frame
from proxy.dialects.depth import MAX_DEPTH, exceeds
from proxy.dialects.messages.decode import read_usage as read_messages_usage
from proxy.dialects.messages.encode import error_frame as messages_error_frame
from proxy.dialects.responses.decode import response_usage
from proxy.dialects.responses.encode import error_frame as responses_error_frame
from proxy.dialects.responses.shapes import kept, told_error
from proxy.dialects.sse import Unfinished, is_json, parse_block, split_blocks
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, at_least, estimate_output

_BOM = b"\xef\xbb\xbf"
_NOTHING = b"\0"
"""What no frame begins with."""
_LEARNABLE = 4096
"""Bytes; a longer frame is no token."""
_TOKEN = 4
"""Bytes that a frame counts for whose text nobody finds."""
_SAID = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments|text|thinking|partial_json|delta)": ?"((?:[^"\\]|\\.)+)"'
)
"""Where a content frame has its text."""
_text_at = cast(Callable[[bytes, int], re.Match[bytes]], re.compile(rb'[^"\\\x00-\x1f]*').match)
"""Matches, always, a text with nothing escaped, and so with nothing in it that could be more than text."""


class Splice(ABC):
    """An answer whose bytes are the upstream's. Subclasses know one dialect each.

    ``committed`` turns true with the first content; ``ended`` when nothing may follow; ``error`` is the failure that ended
    it, if one did. ``events`` counts content frames, for the estimate of an answer whose usage was never told; ``pace`` is how
    many tokens of this model such a frame holds, as far as anybody knows.
    """

    made: Sequence[Made] = ()

    def __init__(
        self,
        request_id: str,
        flags: Flags,
        estimate_input: Callable[[], int],
        *,
        pace: float | None = None,
    ) -> None:
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self.reported: Usage | None = None
        self.answer_id = ""
        self.continuation: str | None = None
        self.events = 0
        self._request_id = request_id
        self._flags = flags
        self._estimate_input = estimate_input
        self._pace = pace
        self._text = 0
        """Bytes of text in content frames."""
        self._rest = Unfinished()
        self._started = False
        self._flowing = False
        self._before = _NOTHING
        """What stands before the text of the frame that was learnt."""
        self._start = len(_NOTHING)
        self._around = 0
        """Bytes of a content frame beside its text; 0 as long as none was measured."""
        self._copies = 1
        """How often the text stands in such a frame."""
        self._after: bytes | None = None
        """What stands behind it."""
        self._ending: re.Pattern[bytes] | None = None
        """What may stand behind it as well, where that is padded differently each time."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes for the client that ``data`` completes. Runs once a read."""
        if self._flowing:
            # Content has come and no frame is unfinished, so this read begins with a frame. From token to token a stream changes
            # its text and nothing else: a frame that is like the one that was learnt but for that has nothing to be looked into.
            # The methods of bytes are used where "in" would read better, since that takes twice as long.
            if data.startswith(self._before):
                start = self._start
                text_end = _text_at(data, start).end()
                rest = data[text_end:]
                if rest == self._after or (
                    self._ending is not None and self._ending.fullmatch(rest)
                ):
                    self.events += 1
                    self._text += text_end - start
                    return data
            count = self._plain(data)
            if count:
                self.events += count
                around = self._around or self._measure(data)
                self._text += (len(data) - count * around) // self._copies
                return data
        out = self._feed(data)
        self._flowing = self.committed and not self.ended and self._rest.size == 0
        return out

    def _feed(self, data: bytes) -> bytes:
        if self._rest.size:
            joined = self._rest.join(data)
            if joined is None:
                return b""
            data = joined
        if not self._started:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest.keep(data)
                return b""
            self._started = True
            data = data.removeprefix(_BOM)
        if self.ended:
            return b""
        if data[-2:] == b"\n\n":
            whole = data
        else:
            end = data.rfind(b"\n\n") + 2
            if b"\r" in data:
                return self._feed_any_line_end(data)
            if end == 1:
                self._rest.keep(data)
                return b""
            whole = data[:end]
            self._rest.keep(data[end:])
        if self.committed:
            count = self._plain(whole)
            if count:
                self.events += count
                around = self._around or self._measure(whole)
                self._text += (len(whole) - count * around) // self._copies
                return whole
        return self._each(split_blocks(whole)[0])

    def finish(self) -> bytes:
        """Return what is left to say when the upstream's body has ended."""
        out = b""
        rest = self._rest.take()
        if rest and not self.ended:
            blocks = split_blocks(rest.removeprefix(_BOM) + b"\n\n")[0]
            out = self._each([block for block in blocks if self._is_whole(block)])
        if self.ended:
            return out
        return out + self._conclude()

    def fail(self, error: GatewayError) -> bytes:
        """End the answer with ``error`` and return its frame in the client's dialect."""
        self.error = error
        self.ended = True
        return self._error_frame(error)

    @property
    def seen(self) -> int:
        """About how many tokens of output have come."""
        # A quarter for each byte: that is a quarter for an ASCII character and three quarters for a Chinese one.
        return estimate_output(-(-max(self._text, 0) // 4), self.events, self._pace)

    def usage(self) -> Usage:
        """Return what the upstream told, or else an estimate that says that it is one."""
        if self.reported is None:
            return Usage(input=self._estimate_input(), output=self.seen, estimated=True)
        if self.ended and self.error is None:
            return self.reported
        return at_least(self.reported, self.seen)

    def _measure(self, whole: bytes) -> int:
        """Learn from the first of these content frames what a frame has beside its text."""
        frame = whole[: whole.find(b"\n\n") + 2]
        said = _SAID.search(frame)
        if said is None:
            self._around = len(frame) - _TOKEN
        else:
            # OpenRouter says what a model thinks twice.
            self._copies = frame.count(said[1])
            self._around = len(frame) - self._copies * len(said[1])
        return self._around

    def _saw(self, text: str) -> None:
        """Count a content frame that was looked into."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.events += 1
        self._text += size

    # What a dialect knows.

    @abstractmethod
    def _plain(self, whole: bytes) -> int:
        """Return how many frames ``whole`` is if all of them are plain content, else 0."""

    @abstractmethod
    def _block(self, block: bytes) -> bytes:
        """Look into one frame (without its blank line) and return what the client gets of it."""

    @abstractmethod
    def _conclude(self) -> bytes:
        """Return the end of an answer whose upstream has closed."""

    @abstractmethod
    def _error_frame(self, error: GatewayError) -> bytes:
        """Return the frame that tells ``error`` in the dialect."""

    def _refused(self, error: object) -> None:
        self.error = refusal.classify_event(error)
        self.ended = True

    # Frames.

    def _each(self, blocks: list[bytes]) -> bytes:
        out = []
        for block in blocks:
            out.append(self._block(block))
            if self.error is not None:
                out.append(self._error_frame(self.error))
            if self.ended:
                break
        return b"".join(out)

    def _unread(self, block: bytes) -> bytes:
        """Return what the client gets of a frame that is no JSON to us: all of it where the fast look lets it pass, too.

        Half of a surrogate pair is such a thing, and may be JSON to the client.
        """
        frame = block + b"\n\n"
        count = self._plain(frame) if self.committed else 0
        if count:
            self._saw("")
        return frame if count else b""

    def _feed_any_line_end(self, data: bytes) -> bytes:
        blocks, rest = split_blocks(data)
        self._rest.keep(rest)
        return self._each(blocks)

    @staticmethod
    def _is_whole(block: bytes) -> bool:
        event = parse_block(block)
        return event is not None and (event.data == b"[DONE]" or is_json(event.data))


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
        if start < len(_CONTENT) or len(frame) > _LEARNABLE:
            return
        end = _text_at(frame, start).end()
        padding = frame.find(_PADDING, end)
        self._before, self._after = frame[:start], frame[end:]
        self._start = start
        if end > start and frame[end : end + 1] == b'"':
            self._around, self._copies = len(frame) - (end - start), 1
        self._ending = None if padding < 0 else _padded(frame[end : padding + len(_PADDING)])

    def _block(self, block: bytes) -> bytes:
        event = parse_block(block)
        if event is None:
            return _reframed(block) if block.startswith(b":") else b""
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
            self.reported = read_chat_usage(usage, self._flags, tier=tier)
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
            return self._with_cost(block, data, chunk) if last else _reframed(block)
        if b'"delta":null' in data:
            return b"data: " + data.replace(b'"delta":null', b'"delta":{}') + b"\n\n"
        return _rewritten(block, chunk)

    def _with_cost(self, block: bytes, data: bytes, chunk: dict[str, Any]) -> bytes:
        """Return a chunk with what the key pays in its usage, where it has one and the client asked for it."""
        usage = chunk.get("usage")
        if self._charge is None or self.reported is None or not isinstance(usage, dict):
            return _reframed(block)
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
        return chat_error_frame(error, self._request_id)


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


class NamedSplice(Splice):
    """What the two dialects whose events have names have in common: each event is an event line and a data line."""

    PLAIN: bytes
    """How a frame of plain content begins."""
    OPENING: bytes
    """What stands before its text; empty where no two frames are alike."""
    ENDING: re.Pattern[bytes] | None
    """What stands behind its text: a quote, braces, and the spaces with which Anthropic pads them."""

    def _learn(self, frame: bytes) -> None:
        start = frame.find(self.OPENING) + len(self.OPENING)
        if self.OPENING and start >= len(self.OPENING) and len(frame) <= _LEARNABLE:
            end = _text_at(frame, start).end()
            self._before, self._after, self._ending = frame[:start], frame[end:], self.ENDING
            self._start = start
            if end > start and frame[end : end + 1] == b'"':
                self._around, self._copies = len(frame) - (end - start), 1

    def _plain(self, whole: bytes) -> int:
        count = whole.count(self.PLAIN)
        if (
            count
            and whole.endswith(b"\n\n")
            and whole.count(b"\n") == 3 * count
            and whole.count(b"\n\n") == count
            and b"\r" not in whole
        ):
            if count == 1:
                self._learn(whole)
            return count
        return 0

    def _block(self, block: bytes) -> bytes:
        event = parse_block(block)
        if event is None:
            return _reframed(block) if block.startswith(b":") else b""
        try:
            document = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            # "[DONE]" among them, which is another dialect's end.
            return self._unread(block)
        if not isinstance(document, dict):
            return b""
        kind = document.get("type")
        said = self._look(kind if isinstance(kind, str) else "", document)
        if said is not None:
            self._saw(said)
        if self.error is not None:
            return b""
        named = _reframed(block, (b"id:", b"retry:"))
        if event.name is not None or not isinstance(kind, str):
            return named
        # Clients of these dialects skip frames without an event line, which some imitations of the APIs leave out.
        return b"event: %b\n%b" % (kind.encode(), named)

    @abstractmethod
    def _look(self, kind: str, document: dict[str, Any]) -> str | None:
        """Note what an event of the type ``kind`` tells; return what the model says in it, None if it is no content."""

    def _conclude(self) -> bytes:
        return self.fail(GatewayError(Kind.DISCONNECTED))


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
            return _said_in(document.get("delta"), ("text", "thinking", "partial_json"))
        elif kind == "content_block_start":
            block = document.get("content_block")
            self.committed = self.committed or not _is_empty(block)
        return None

    def _merge(self, usage: object) -> None:
        """Note cumulative counts: a field that is told again replaces, one that is not stays."""
        if isinstance(usage, dict):
            self._usage.update({key: value for key, value in usage.items() if value is not None})
            self.reported = read_messages_usage(self._usage, self._flags)

    def _error_frame(self, error: GatewayError) -> bytes:
        return messages_error_frame(error, self._request_id)


def _is_empty(block: object) -> bool:
    """Tell whether a block has only been opened: its text or thinking is yet to come."""
    return (
        isinstance(block, dict)
        and block.get("type") in ("text", "thinking")
        and not (block.get("text") or block.get("thinking"))
    )


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
        elif kind not in _RESPONSES_METADATA:
            self.committed = True
            if kind.endswith(".delta"):
                return _said_in(document, ("delta",))
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
            return responses_error_frame(error, self._request_id)
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


_RESPONSES_METADATA = frozenset(
    (
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.output_item.added",
        "response.content_part.added",
    )
)
"""What comes before content, and is held back with it: nothing in these events is the model's word."""


def _rewritten(block: bytes, chunk: dict[str, Any]) -> bytes:
    """Return the frame of ``chunk``, which ``block`` was before it was changed; as it came if it is nested too deep to be written."""
    if exceeds(chunk, MAX_DEPTH):
        return _reframed(block)
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _reframed(block: bytes, dropped: tuple[bytes, ...] = (b"id:", b"retry:", b"event:")) -> bytes:
    """Return ``block`` as one frame with LF line ends, without the lines that start with one of ``dropped``."""
    if block.startswith(b"data: ") and block.find(b"\n") < 0 and block.find(b"\r") < 0:
        return block + b"\n\n"
    kept = [line for line in block.splitlines() if not line.startswith(dropped)]
    return b"\n".join(kept) + b"\n\n"


def _said(choice: object) -> str:
    """Return what the model says in a choice of a chat chunk: text, thinking, arguments."""
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict):
        return ""
    calls = delta.get("tool_calls")
    called = [delta.get("function_call")]
    if isinstance(calls, list):
        called += [one.get("function") for one in calls if isinstance(one, dict)]
    said = _said_in(delta, ("content", "reasoning_content", "reasoning", "refusal"))
    return said + "".join(_said_in(one, ("arguments",)) for one in called)


def _said_in(delta: object, names: tuple[str, ...]) -> str:
    """Return the texts that ``delta`` has under ``names``."""
    if not isinstance(delta, dict):
        return ""
    found = [delta.get(name) for name in names]
    return "".join([one for one in found if isinstance(one, str)])


def _says_something(delta: dict[str, Any]) -> bool:
    """Tell whether a chat delta holds content of any kind; a role is none."""
    return any(value for key, value in delta.items() if key not in ("role", "obfuscation"))
