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
from typing import Any, cast

import orjson

from proxy.dialects import refusal
from proxy.dialects.answer import Made
from proxy.dialects.sse import Unfinished, is_json, parse_block, split_blocks
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, at_least, estimate_output

_BOM = b"\xef\xbb\xbf"
_NOTHING = b"\0"
"""What no frame begins with."""
LEARNABLE = 4096
"""Bytes; a longer frame is no token."""
_TOKEN = 4
"""Bytes that a frame counts for whose text nobody finds."""
_SAID = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments|text|thinking|partial_json|delta)": ?"((?:[^"\\]|\\.)+)"'
)
"""Where a content frame has its text."""
text_at = cast(Callable[[bytes, int], re.Match[bytes]], re.compile(rb'[^"\\\x00-\x1f]*').match)
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
                text_end = text_at(data, start).end()
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
        if self.OPENING and start >= len(self.OPENING) and len(frame) <= LEARNABLE:
            end = text_at(frame, start).end()
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
            return reframed(block) if block.startswith(b":") else b""
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
        named = reframed(block, (b"id:", b"retry:"))
        if event.name is not None or not isinstance(kind, str):
            return named
        # Clients of these dialects skip frames without an event line, which some imitations of the APIs leave out.
        return b"event: %b\n%b" % (kind.encode(), named)

    @abstractmethod
    def _look(self, kind: str, document: dict[str, Any]) -> str | None:
        """Note what an event of the type ``kind`` tells; return what the model says in it, None if it is no content."""

    def _conclude(self) -> bytes:
        return self.fail(GatewayError(Kind.DISCONNECTED))


def reframed(block: bytes, dropped: tuple[bytes, ...] = (b"id:", b"retry:", b"event:")) -> bytes:
    """Return ``block`` as one frame with LF line ends, without the lines that start with one of ``dropped``."""
    if block.startswith(b"data: ") and block.find(b"\n") < 0 and block.find(b"\r") < 0:
        return block + b"\n\n"
    kept = [line for line in block.splitlines() if not line.startswith(dropped)]
    return b"\n".join(kept) + b"\n\n"


def said_in(delta: object, names: tuple[str, ...]) -> str:
    """Return the texts that ``delta`` has under ``names``."""
    if not isinstance(delta, dict):
        return ""
    found = [delta.get(name) for name in names]
    return "".join([one for one in found if isinstance(one, str)])
