"""Completions of the old kind as events: passed on as they come, and read along for what they say and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson

from proxy.dialects.passed import Passed
from proxy.dialects.sse import Event
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage


class Completions(Passed):
    """Events that are over when they say so. ``swallows``: it was us who asked for the event that tells what was used."""

    def __init__(
        self,
        flags: Flags,
        estimate: Callable[[Passed], Usage],
        frame: Callable[[GatewayError], bytes],
        *,
        swallows: bool,
    ) -> None:
        super().__init__("events", flags, estimate, frame)
        self._swallows = swallows
        self._finished = False
        self._text = 0

    @property
    def seen(self) -> int:
        """About how many tokens have come: a quarter for each byte of text."""
        return -(-self._text // 4)

    def finish(self) -> bytes:
        self.ended = True
        out = self._each(self._splitter.finish(), b"")
        if self.error is None and not self._finished:
            return self.fail(GatewayError(Kind.DISCONNECTED, evidence="events without an end"))
        return out

    def _feed_events(self, data: bytes) -> bytes:
        return self._each(self._splitter.feed(data), data)

    def _each(self, events: Iterable[Event], data: bytes) -> bytes:
        """Return ``data``, in which these ``events`` ended, or the events that the client has asked for."""
        kept = []
        for event in events:
            self._look(event)
            if self.error is not None:
                return self.fail(self.error)
            if not (self._read_along(event) and self._swallows):
                kept.append(b"data: %b\n\n" % event.data.replace(b"\n", b"\ndata: "))
                self.committed = True
        return b"".join(kept) if self._swallows else data

    def _read_along(self, event: Event) -> bool:
        """Note what an event says; tell whether it says nothing but what was used."""
        if event.data == b"[DONE]":
            self._finished = True
            return False
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return False
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list):
            return False
        for choice in choices:
            if isinstance(choice, dict):
                text = choice.get("text")
                self._text += (
                    len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
                )
                self._finished |= bool(choice.get("finish_reason"))
        return not choices and isinstance(chunk.get("usage"), dict)
