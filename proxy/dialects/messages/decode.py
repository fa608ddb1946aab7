"""Anthropic's answers, streamed or whole, played on a ``Turn``.

What the provider's own tools did (server tools, their results, citations, compaction) says nothing in another dialect and is
passed over; its tokens are in the usage.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import orjson

from proxy.dialects import refusal
from proxy.dialects.depth import loads
from proxy.dialects.turn import StopReason, Turn
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, count

STOP_REASONS: dict[str, StopReason] = {
    "end_turn": StopReason.STOP,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.CONTEXT,
    "tool_use": StopReason.TOOL_CALLS,
    "refusal": StopReason.FILTER,
    "pause_turn": StopReason.PAUSE,
    "compaction": StopReason.COMPACTION,
}
"""Why a turn ended; a word that is not here, and none at all, counts as a plain stop."""

Object = dict[str, Any]

_TEXT_DELTA = b'"delta":{"type":"text_delta","text":"'
_TEXT = re.compile(rb'[^"\\\x00-\x1f]*')
"""A text with nothing escaped: its bytes are what JSON would make of them."""
_TEXT_END = re.compile(rb'" *\} *\} *')
"""How an event ends after its text; Anthropic pads it with spaces, against those who count bytes on the wire."""


class Decoder:
    """Reads one answer. ``ignored`` counts events that were no JSON object."""

    def __init__(self, turn: Turn, flags: Flags) -> None:
        self.ended = False
        self.ignored = 0
        self._turn = turn
        self._flags = flags
        self._begun = False
        self._usage: Object = {}
        self._ending: tuple[StopReason, str | None, str | None] = (StopReason.STOP, None, None)
        self._made_calls = 0
        self._calls: dict[object, _OpenCall] = {}
        self._seal = ""
        self._before_text = b""

    # Streams.

    def event(self, name: bytes | None, data: bytes) -> None:  # noqa: ARG002 - the type inside the data is what counts
        """Play one event; runs once a token."""
        # From token to token an event changes its text and nothing else.
        before = self._before_text
        if before and data.startswith(before) and not self.ended:
            text = _TEXT.match(data, len(before))
            if text is not None and text[0] and _TEXT_END.fullmatch(data, text.end()):
                try:
                    self._turn.text(text[0].decode())
                except UnicodeDecodeError:
                    self.ignored += 1
                return
        try:
            event = loads(data)
            handle = self._EVENTS.get(event["type"])
        except (orjson.JSONDecodeError, TypeError, KeyError):
            self._untyped(data)
            return
        if self.ended:
            return
        if handle is not None:
            handle(self, event)
            text_at = data.find(_TEXT_DELTA)
            if text_at > 0 and event["type"] == "content_block_delta":
                self._before_text = data[: text_at + len(_TEXT_DELTA)]
        elif event.get("error"):
            self._fail(refusal.classify_event(event))

    def finish(self) -> None:
        """End the turn as cut short, if it has not ended: nothing but ``message_stop`` says that an answer is whole."""
        if not self.ended:
            self._fail(GatewayError(Kind.DISCONNECTED))

    def _untyped(self, data: bytes) -> None:
        """Take an error that an imitation of the API sent without a type; ignore whatever else has none."""
        try:
            event = loads(data)
        except orjson.JSONDecodeError:
            event = None
        if isinstance(event, dict) and event.get("error") and not self.ended:
            self._fail(refusal.classify_event(event))
        else:
            self.ignored += 1

    def _message_start(self, event: Object) -> None:
        message = event.get("message")
        message = message if isinstance(message, dict) else {}
        if not self._begun:
            self._begun = True
            self._turn.begin(_text_of(message, "model"), _text_of(message, "id"))
        self._told_usage(message.get("usage"))

    def _block_start(self, event: Object) -> None:
        self._begin_unannounced()
        block = event.get("content_block")
        if not isinstance(block, dict):
            return
        match block.get("type"):
            case "text":
                self._say(_text_of(block, "text"))
            case "thinking":
                self._think(_text_of(block, "thinking"))
                self._seal = _text_of(block, "signature")
            case "redacted_thinking":
                self._redacted(block)
            case "tool_use":
                self._calls[_key(event)] = _OpenCall(self._start_call(block), block.get("input"))
            case _:
                pass

    def _delta(self, event: Object) -> None:
        if not self._begun:
            self._begin_unannounced()
        delta = event.get("delta")
        if isinstance(delta, dict):
            kind = delta.get("type")
            handle = self._DELTAS.get(kind) if isinstance(kind, str) else None
            if handle is not None:
                handle(self, event, delta)

    def _text_delta(self, _event: Object, delta: Object) -> None:
        text = delta.get("text")
        if text and isinstance(text, str):
            self._turn.text(text)

    def _thinking_delta(self, _event: Object, delta: Object) -> None:
        self._think(_text_of(delta, "thinking"))

    def _signature_delta(self, _event: Object, delta: Object) -> None:
        self._seal = _text_of(delta, "signature")

    def _input_delta(self, event: Object, delta: Object) -> None:
        call = self._calls.get(_key(event))
        if call is not None:
            fragment = _text_of(delta, "partial_json")
            if fragment:
                call.told = True
                self._turn.arguments(call.number, fragment)

    def _block_stop(self, event: Object) -> None:
        if self._seal:
            self._sealed()
        call = self._calls.pop(_key(event), None)
        if call is not None:
            self._finish_call(call)

    def _message_delta(self, event: Object) -> None:
        self._begin_unannounced()
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._ending = _ending(delta)
        self._told_usage(event.get("usage"))

    def _message_stop(self, _event: Object) -> None:
        self._begin_unannounced()
        self._close_blocks()
        self.ended = True
        reason, *told = self._ending
        if reason is StopReason.STOP and self._made_calls:
            # Imitations of the API say so of an answer that waits for its calls.
            reason = StopReason.TOOL_CALLS
        self._turn.end(reason, *told)

    def _error(self, event: Object) -> None:
        self._fail(refusal.classify_event(event if event.get("error") else event.get("message")))

    # Whole answers.

    def answer(self, document: object) -> None:
        """Play a whole message; anything else fails the turn."""
        if isinstance(document, dict) and document.get("error"):
            self._fail(refusal.classify_event(document))
            return
        if not isinstance(document, dict) or not isinstance(document.get("content"), list):
            self._fail(
                GatewayError(
                    Kind.MALFORMED, evidence="expected a message with a list as its content"
                )
            )
            return
        self._message_start({"message": document})
        for block in document["content"]:
            if isinstance(block, dict):
                self._block_start({"index": 0, "content_block": block})
                self._block_stop({"index": 0})
        self._ending = _ending(document)
        self._message_stop({})

    # What streams and whole answers share.

    def _begin_unannounced(self) -> None:
        if not self._begun:
            self._begun = True
            self._turn.begin("", "")

    def _told_usage(self, usage: object) -> None:
        """Note cumulative counts: what is told again replaces, what is not stays."""
        if isinstance(usage, dict):
            self._usage.update((key, value) for key, value in usage.items() if value is not None)
            self._turn.usage(read_usage(self._usage, self._flags))

    def _say(self, delta: str) -> None:
        if delta:
            self._turn.text(delta)

    def _think(self, delta: str) -> None:
        if delta:
            self._turn.thinking(delta)

    def _redacted(self, block: Object) -> None:
        data = _text_of(block, "data")
        if data:
            self._turn.redacted(data)

    def _sealed(self) -> None:
        self._turn.signature(self._seal)
        self._seal = ""

    def _start_call(self, block: Object) -> int:
        number = self._made_calls
        self._made_calls += 1
        self._turn.tool_call(number, _text_of(block, "id"), _text_of(block, "name"))
        return number

    def _finish_call(self, call: _OpenCall) -> None:
        if not call.told:
            # Clients parse the sum of the fragments, so a call without arguments has an empty object.
            whole = call.whole if isinstance(call.whole, dict) else {}
            self._turn.arguments(call.number, orjson.dumps(whole).decode())
        self._turn.call_done(call.number)

    def _close_blocks(self) -> None:
        if self._seal:
            self._sealed()
        for call in self._calls.values():
            self._finish_call(call)
        self._calls.clear()

    def _fail(self, error: GatewayError) -> None:
        self.ended = True
        self._turn.fail(error)

    _EVENTS: ClassVar[dict[str, Callable[[Decoder, Object], None]]] = {
        "content_block_delta": _delta,
        "content_block_start": _block_start,
        "content_block_stop": _block_stop,
        "message_start": _message_start,
        "message_delta": _message_delta,
        "message_stop": _message_stop,
        "error": _error,
    }
    _DELTAS: ClassVar[dict[str, Callable[[Decoder, Object, Object], None]]] = {
        "text_delta": _text_delta,
        "input_json_delta": _input_delta,
        "thinking_delta": _thinking_delta,
        "signature_delta": _signature_delta,
    }


class _OpenCall:
    """A call whose arguments are on their way: its number, the input told at its start, whether fragments came."""

    __slots__ = ("number", "told", "whole")

    def __init__(self, number: int, whole: object) -> None:
        self.number = number
        self.whole = whole
        self.told = False


def read_usage(raw: object, flags: Flags) -> Usage:  # noqa: ARG001 - every dialect's reader is called alike
    """Return the usage that ``raw`` tells; fields that are no counts are nothing.

    Cached tokens stand beside ``input_tokens`` here, so they are disjoint already.
    """
    if not isinstance(raw, dict):
        return Usage()
    parts = _iterations(raw) or [raw]
    writes = sum(_writes(part) for part in parts)
    # The shares are told on the first event only and may be out of date against the sum.
    hours = min(sum(_split(part, "ephemeral_1h_input_tokens") for part in parts), writes)
    output = sum(count(part.get("output_tokens")) for part in parts)
    tier = raw.get("service_tier")
    return Usage(
        input=sum(count(part.get("input_tokens")) for part in parts),
        cache_read=sum(count(part.get("cache_read_input_tokens")) for part in parts),
        cache_write=writes - hours,
        cache_write_1h=hours,
        output=output,
        reasoning=min(_inside(raw, "output_tokens_details", "thinking_tokens"), output),
        searches=_inside(raw, "server_tool_use", "web_search_requests"),
        tier="fast" if raw.get("speed") == "fast" else tier if isinstance(tier, str) else None,
    )


def _iterations(raw: Object) -> list[Object]:
    """Return the rounds of a call that compacted its context, which its totals leave out; none for any other call.

    An advisor's round is another model's at another price; after a fallback the totals are right as they are.
    """
    told = raw.get("iterations")
    rounds = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    kinds = [one.get("type") for one in rounds]
    if "compaction" not in kinds or "fallback_message" in kinds:
        return []
    return [one for one in rounds if one.get("type") in ("compaction", "message")]


def _writes(usage: Object) -> int:
    told = usage.get("cache_creation_input_tokens")
    if told is not None:
        return count(told)
    return _split(usage, "ephemeral_5m_input_tokens") + _split(usage, "ephemeral_1h_input_tokens")


def _split(usage: Object, key: str) -> int:
    return _inside(usage, "cache_creation", key)


def _inside(usage: Object, holder: str, key: str) -> int:
    inner = usage.get(holder)
    return count(inner.get(key)) if isinstance(inner, dict) else 0


def _ending(told: Object) -> tuple[StopReason, str | None, str | None]:
    """Return the reason, the stop sequence and the explanation that a message or its last delta gives."""
    reason, sequence, details = (
        told.get("stop_reason"),
        told.get("stop_sequence"),
        told.get("stop_details"),
    )
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return (
        STOP_REASONS.get(reason, StopReason.STOP) if isinstance(reason, str) else StopReason.STOP,
        sequence if isinstance(sequence, str) else None,
        explanation if isinstance(explanation, str) else None,
    )


def _text_of(holder: Object, key: str) -> str:
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def _key(event: Object) -> object:
    index = event.get("index")
    return index if type(index) is int else None
