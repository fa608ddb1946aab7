"""Server-sent events: reads of any size become whole events, by the WHATWG rules that providers follow in practice."""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one event. The longest recorded is 131 KB; base64 images can reach several MiB."""

_LONG = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One dispatched event: its name, if it had one, and its data with the line ends joined by LF."""

    name: bytes | None
    data: bytes


class EventTooLong(Exception):
    """An event outgrew ``MAX_EVENT`` before its blank line came."""


class Unfinished:
    """The bytes of an event whose end has not come.

    A long event arrives in hundreds of reads. Joining it and searching it anew with each would take a minute of CPU, so that is
    done only when a blank line has come, without which no event ends.
    """

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        """Bytes held; read once a read, so it is a field and not a property."""

    def join(self, data: bytes) -> bytes | None:
        """Return all that is held followed by ``data``, or None if ``data`` has been put by, since it ends nothing."""
        parts = self._parts
        ended = _has_blank_line(data) or _has_blank_line(parts[-1][-2:] + data[:1])
        parts.append(data)
        if not ended and self.size > _LONG:
            self._grow(len(data))
            return None
        return self.take()

    def keep(self, rest: bytes) -> None:
        """Hold ``rest``, where nothing was held."""
        if rest:
            self._parts.append(rest)
            self._grow(len(rest))

    def take(self) -> bytes:
        """Return all that is held, and hold nothing."""
        joined = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return joined

    def _grow(self, size: int) -> None:
        self.size += size
        if self.size > MAX_EVENT:
            raise EventTooLong


def _has_blank_line(data: bytes) -> bool:
    """Tell whether two line ends follow each other, of whichever kind; a CR and an LF are one."""
    return data.find(b"\n\n") >= 0 or data.find(b"\n\r") >= 0 or data.find(b"\r\r") >= 0


class Splitter:
    """Cuts a byte stream into events; ``feed`` any reads, then ``finish`` once.

    A frame without data is no event. ``id`` and ``retry`` are ignored, as are comments.
    """

    __slots__ = ("_rest", "_started")

    def __init__(self) -> None:
        self._rest = Unfinished()
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes."""
        if self._rest.size:
            joined = self._rest.join(data)
            if joined is None:
                return []
            data = joined
        if not self._started:
            data = self._skip_bom(data)
        # find and not "in": of bytes it takes half the time.
        if data.find(b"\r") >= 0:
            return self._feed_any_line_end(data)
        end = data.rfind(b"\n\n")
        if end < 0:
            self._rest.keep(data)
            return []
        if end + 2 < len(data):
            self._rest.keep(data[end + 2 :])
        events = []
        new_tuple = tuple.__new__
        for block in data[:end].split(b"\n\n"):
            # Nine of ten blocks are one data line, perhaps after one event line. They are read here, since a call for
            # each would cost more than the reading.
            name = None
            line = 0
            if block.startswith(b"event: "):
                line = block.find(b"\n") + 1
                name = block[7 : line - 1]
            value = block[line + 6 :]
            if value and block.startswith(b"data: ", line) and value.find(b"\n") < 0:
                events.append(new_tuple(Event, (name, value)))
            elif block:
                event = parse_block(block)
                if event is not None:
                    events.append(event)
        return events

    def finish(self) -> list[Event]:
        """Return the event that the end of the stream left without its blank line, if its data is whole JSON or [DONE]."""
        rest = self._rest.take()
        ended: list[bytes] = []
        if rest.endswith(b"\r"):
            # No LF came behind it: it was a line end of its own, and may have ended an event.
            ended, rest = split_blocks(rest + b"\n")
        events = [event for event in map(parse_block, ended) if event is not None]
        for block in split_blocks(rest + b"\n\n")[0]:
            event = parse_block(block)
            if event is not None and (event.data == b"[DONE]" or is_json(event.data)):
                events.append(event)
        return events

    def _feed_any_line_end(self, data: bytes) -> list[Event]:
        blocks, rest = split_blocks(data)
        self._rest.keep(rest)
        return [event for event in map(parse_block, blocks) if event is not None]

    def _skip_bom(self, data: bytes) -> bytes:
        if len(data) < len(_BOM) and _BOM.startswith(data):
            return data
        self._started = True
        return data.removeprefix(_BOM)


def split_blocks(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the blocks of ``data`` that a blank line ends, and what is left, with any of the three line ends.

    A CR at the very end may be half of a CRLF, so it stays with the rest until the next read.
    """
    plain = data.find(b"\r") < 0 and data.find(b"\n\n\n") < 0 and not data.startswith(b"\n")
    if plain and data.endswith(b"\n\n"):
        # What nearly every read is; the search below takes ten times as long.
        return data[:-2].split(b"\n\n"), b""
    blocks = []
    start = line_start = text_end = 0
    for line_end in _LINE_END.finditer(data):
        if line_end.group() == b"\r" and line_end.end() == len(data):
            break
        if line_end.start() == line_start:
            if line_start > start:
                blocks.append(data[start:text_end])
            start = line_end.end()
        text_end = line_end.start()
        line_start = line_end.end()
    return blocks, data[start:]


def parse_block(block: bytes) -> Event | None:
    """Return the event of one block of lines, or None if it holds no data."""
    plain = block.find(b"\r") < 0
    if plain and block.startswith(b"data: {") and block.find(b"\n") < 0:
        return Event(None, block[6:])
    name: bytes | None = None
    data: list[bytes] = []
    for line in block.split(b"\n") if plain else _LINE_END.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    joined = b"\n".join(data)
    if not joined and block.startswith(b"{"):
        # Gemini can end a stream with a bare JSON error. As a field of an event it would be unknown, and lost.
        return Event(name, block.rstrip(b"\r\n"))
    return Event(name, joined) if joined else None


def is_json(data: bytes) -> bool:
    """Tell whether ``data`` is one whole JSON document."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
