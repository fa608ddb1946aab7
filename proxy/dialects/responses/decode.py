"""A Responses answer, streamed or whole, played on a turn.

Servers that imitate the dialect leave out what they like: event names, sequence numbers, the item's announcement, deltas. So
whatever an item said by its deltas counts, and where it said nothing by them its final form does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import orjson

from proxy.dialects import envelope, refusal
from proxy.dialects.depth import loads
from proxy.dialects.turn import StopReason, Turn
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, count, inclusive

_INCOMPLETE = {
    "max_output_tokens": StopReason.LENGTH,
    "content_filter": StopReason.FILTER,
}
_CALLS = ("function_call", "custom_tool_call")
_WRAPPED_START, _WRAPPED_END = '{"input":"', '"}'
"""A free-text tool's input travels as JSON between decoder and encoder, as every tool's does."""


class _Call:
    """A tool call under way. ``said`` turns true with its first argument text."""

    __slots__ = ("custom", "done", "number", "said")

    def __init__(self, number: int, *, custom: bool) -> None:
        self.number = number
        self.custom = custom
        self.said = False
        self.done = False


class Decoder:
    """Reads one answer. ``ignored`` counts events that were no JSON objects."""

    def __init__(self, turn: Turn, flags: Flags) -> None:
        self.ended = False
        self.ignored = 0
        self._turn = turn
        self._flags = flags
        self._begun = False
        self._calls: dict[int | str, _Call] = {}
        self._number = 0
        self._said: set[tuple[int | str, int]] = set()
        self._finished: set[int | str] = set()
        self._thinking: tuple[int | str, str, int] | None = None
        self._thought: dict[int | str, str] = {}
        self._searches = 0

    def event(self, name: bytes | None, data: bytes) -> None:
        """Play one event. Its type is read from the data; the event's name stands in where that says nothing."""
        if self.ended:
            return
        try:
            event = loads(data)
        except orjson.JSONDecodeError:
            self.ignored += data != b"[DONE]"
            return
        if type(event) is not dict:
            self.ignored += 1
            return
        kind = event.get("type")
        if type(kind) is not str:
            kind = "error" if event.get("error") else (name or b"").decode("utf-8", "replace")
        play = self._EVENTS.get(kind)
        if play is not None:
            play(self, event)

    def answer(self, document: object) -> None:
        """Play a whole response object."""
        if not isinstance(document, dict):
            self._fail(GatewayError(Kind.MALFORMED, evidence="the answer is not a JSON object"))
        else:
            self._finish(document)

    def finish(self) -> None:
        """Fail an answer whose body ended before its last event."""
        if not self.ended:
            self._fail(GatewayError(Kind.DISCONNECTED))

    # Text, reasoning and refusals; these run once a token.

    def _text(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if type(delta) is str and delta:
            if not self._begun:
                self._begin({})
            self._said.add((_item_of(event), _number_of(event, "content_index")))
            self._turn.text(delta)

    def _refusal(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if type(delta) is str and delta:
            if not self._begun:
                self._begin({})
            self._said.add((_item_of(event), _number_of(event, "content_index")))
            self._turn.refusal(delta)

    def _summary(self, event: dict[str, Any]) -> None:
        self._think(
            event.get("delta"), _item_of(event), "summary", _number_of(event, "summary_index")
        )

    def _reasoning(self, event: dict[str, Any]) -> None:
        self._think(
            event.get("delta"), _item_of(event), "content", _number_of(event, "content_index")
        )

    def _think(self, delta: object, item: int | str, kind: str, part: int) -> None:
        """Play thinking; parts that nothing else stands between are a paragraph apart.

        An item that gives its reasoning both raw and summed up is read in the form that came first.
        """
        if type(delta) is not str or not delta or self._thought.setdefault(item, kind) != kind:
            return
        if not self._begun:
            self._begin({})
        here = (item, kind, part)
        if self._thinking != here:
            if self._thinking is not None:
                self._turn.thinking("\n\n")
            self._thinking = here
        self._turn.thinking(delta)

    def _text_done(self, event: dict[str, Any]) -> None:
        part = (_item_of(event), _number_of(event, "content_index"))
        self._play_text(part, event.get("text"), self._turn.text)

    def _refusal_done(self, event: dict[str, Any]) -> None:
        part = (_item_of(event), _number_of(event, "content_index"))
        self._play_text(part, event.get("refusal"), self._turn.refusal)

    def _play_text(
        self, part: tuple[int | str, int], text: object, verb: Callable[[str], None]
    ) -> None:
        if isinstance(text, str) and text and part not in self._said:
            self._said.add(part)
            self._begin({})
            verb(text)

    # Tool calls.

    def _arguments(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        call = self._call_of(event)
        if call is not None and not call.done and type(delta) is str and delta:
            if call.custom:
                delta = ("" if call.said else _WRAPPED_START) + _escaped(delta)
            call.said = True
            self._turn.arguments(call.number, delta)

    def _arguments_done(self, event: dict[str, Any]) -> None:
        call = self._call_of(event)
        if call is not None:
            self._close(call, event.get("input" if call.custom else "arguments"))

    def _call_of(self, event: dict[str, Any]) -> _Call | None:
        item_id = event.get("item_id")
        return self._calls.get(_item_of(event)) or (
            self._calls.get(item_id) if isinstance(item_id, str) else None
        )

    def _open(self, item: dict[str, Any], place: int | str) -> _Call | None:
        """Start the call of ``item``, or return the one that has been started at its place; None while it has no name."""
        item_id = item.get("id")
        known = self._calls.get(place) or (
            self._calls.get(item_id) if isinstance(item_id, str) else None
        )
        if known is not None:
            return known
        name = item.get("name")
        if not isinstance(name, str) or not name:
            return None
        call = _Call(self._number, custom=item.get("type") == "custom_tool_call")
        self._number += 1
        self._calls[place] = call
        if isinstance(item_id, str):
            self._calls[item_id] = call
        self._begin({})
        self._thinking = None
        call_id = item.get("call_id")
        self._turn.tool_call(call.number, call_id if isinstance(call_id, str) else "", name)
        return call

    def _close(self, call: _Call, whole: object) -> None:
        """End a call; ``whole`` is what it says where no fragment has."""
        if call.done:
            return
        call.done = True
        if call.custom:
            if call.said:
                self._turn.arguments(call.number, _WRAPPED_END)
            else:
                text = _escaped(whole) if isinstance(whole, str) else ""
                self._turn.arguments(call.number, _WRAPPED_START + text + _WRAPPED_END)
        elif not call.said and isinstance(whole, str) and whole:
            self._turn.arguments(call.number, whole)
        call.said = True
        self._turn.call_done(call.number)

    # Items.

    def _item_added(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        if isinstance(item, dict):
            if item.get("type") in _CALLS:
                self._open(item, _item_of(event, item))
            elif item.get("type") == "message":
                self._thinking = None

    def _item_done(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        if isinstance(item, dict):
            self._play_item(item, _item_of(event, item))

    def _play_item(self, item: dict[str, Any], place: int | str) -> None:
        """Play what a finished item says and its deltas have not said."""
        kind = item.get("type")
        if kind == "message":
            self._thinking = None
            for index, part in enumerate(_dicts(item.get("content"))):
                if part.get("type") == "output_text":
                    self._play_text((place, index), part.get("text"), self._turn.text)
                elif part.get("type") == "refusal":
                    self._play_text((place, index), part.get("refusal"), self._turn.refusal)
        elif kind in _CALLS:
            call = self._open(item, place)
            if call is not None:
                self._close(call, item.get("input" if call.custom else "arguments"))
        elif place not in self._finished:
            self._finished.add(place)
            if kind == "reasoning":
                self._play_reasoning(item, place)
            elif kind == "web_search_call":
                action = item.get("action")
                # Opening a page that was found, or searching in it, is not billed.
                if not isinstance(action, dict) or action.get("type", "search") == "search":
                    self._searches += 1
            elif (
                kind == "image_generation_call"
                and isinstance(item.get("result"), str)
                and item["result"]
            ):
                self._begin({})
                self._thinking = None
                self._turn.image(f"image/{item.get('output_format') or 'png'}", item["result"])

    def _play_reasoning(self, item: dict[str, Any], place: int | str) -> None:
        if place not in self._thought:
            for key in ("summary", "content"):
                for index, part in enumerate(_dicts(item.get(key))):
                    self._think(part.get("text"), place, key, index)
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str) and sealed:
            # The announced item's seal may be incomplete; only the finished one's is kept.
            self._begin({})
            opaque = envelope.wrap("oai", sealed)
            if place in self._thought:
                self._turn.signature(opaque)
            else:
                self._turn.redacted(opaque)
            self._thinking = None

    # The answer as a whole.

    def _created(self, event: dict[str, Any]) -> None:
        self._begin(event.get("response"))

    def _begin(self, response: object) -> None:
        if self._begun:
            return
        self._begun = True
        model, answer_id = (
            (response.get("model"), response.get("id"))
            if isinstance(response, dict)
            else (None, None)
        )
        self._turn.begin(
            model if isinstance(model, str) else "", answer_id if isinstance(answer_id, str) else ""
        )

    def _terminal(self, event: dict[str, Any]) -> None:
        response = event.get("response")
        if isinstance(response, dict):
            self._finish(response)
        else:
            self._fail(GatewayError(Kind.MALFORMED, evidence="the last event holds no response"))

    def _finish(self, response: dict[str, Any]) -> None:
        """End the answer with its final object, playing the items that have not been played."""
        status = response.get("status")
        output = response.get("output")
        if status == "failed" or response.get("error"):
            self._report(response)
            self._fail(refusal.classify_event(response.get("error") or {"code": "server_error"}))
            return
        if status not in ("completed", "incomplete", None) or (
            status is None and not isinstance(output, list)
        ):
            # Queued, still running or cancelled: nobody waits for the rest.
            self._fail(GatewayError(Kind.MALFORMED, evidence=f"the answer's status is {status!r}"))
            return
        self._begin(response)
        if not (self._said or self._thought or self._calls or self._finished):
            for place, item in enumerate(_dicts(output)):
                self._play_item(item, place)
        for call in dict.fromkeys(self._calls.values()):
            self._close(call, None)
        self._report(response)
        self.ended = True
        self._turn.end(self._reason(response))

    def _reason(self, response: dict[str, Any]) -> StopReason:
        if response.get("status") == "incomplete":
            details = response.get("incomplete_details")
            told = details.get("reason") if isinstance(details, dict) else None
            # OpenAI stopped it, whatever it calls the reason: the model had more to say.
            return _INCOMPLETE.get(str(told), StopReason.PAUSE)
        return StopReason.TOOL_CALLS if self._calls else StopReason.STOP

    def _report(self, response: dict[str, Any]) -> None:
        usage = response_usage(response, self._flags, searches=self._searches)
        if usage is not None:
            self._turn.usage(usage)

    def _error(self, event: dict[str, Any]) -> None:
        self._fail(refusal.classify_event(event.get("error") or event))

    def _fail(self, error: GatewayError) -> None:
        self.ended = True
        self._turn.fail(error)

    _EVENTS: ClassVar[dict[str, Callable[[Decoder, dict[str, Any]], None]]] = {
        "response.output_text.delta": _text,
        "response.function_call_arguments.delta": _arguments,
        "response.reasoning_summary_text.delta": _summary,
        "response.reasoning_text.delta": _reasoning,
        "response.custom_tool_call_input.delta": _arguments,
        "response.refusal.delta": _refusal,
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.output_text.done": _text_done,
        "response.refusal.done": _refusal_done,
        "response.function_call_arguments.done": _arguments_done,
        "response.custom_tool_call_input.done": _arguments_done,
        "response.created": _created,
        "response.in_progress": _created,
        "response.queued": _created,
        "response.completed": _terminal,
        "response.incomplete": _terminal,
        "response.failed": _terminal,
        "error": _error,
    }


def read_usage(raw: object, flags: Flags) -> Usage:  # noqa: ARG001  # every dialect's has this signature
    """Return the usage of a response's ``usage`` object.

    OpenAI tells two lifetimes of cache writes, half an hour and twelve hours; the longer is billed like the longest of others.
    """
    usage = _object(raw)
    details = _object(usage.get("input_tokens_details"))
    written = count(details.get("cache_write_tokens"))
    long = min(
        written, count(_object(details.get("cache_write_tokens_details")).get("ttl_12h_tokens"))
    )
    return inclusive(
        input_total=count(usage.get("input_tokens")),
        output=count(usage.get("output_tokens")),
        cache_read=count(details.get("cached_tokens")),
        cache_write=written - long,
        cache_write_1h=long,
        reasoning=count(_object(usage.get("output_tokens_details")).get("reasoning_tokens")),
    )


def response_usage(response: dict[str, Any], flags: Flags, *, searches: int = 0) -> Usage | None:
    """Return what a final response object says was consumed, or None if it says nothing.

    ``searches`` is how many were seen, for servers that do not tell the number.
    """
    if not isinstance(response.get("usage"), dict):
        return None
    told = _object(_object(response.get("tool_usage")).get("web_search")).get("num_requests")
    tier = response.get("service_tier")
    return read_usage(response["usage"], flags)._replace(
        searches=searches if told is None else count(told),
        tier=tier if isinstance(tier, str) else None,
    )


def _item_of(event: dict[str, Any], item: dict[str, Any] | None = None) -> int | str:
    """Return what tells the event's item from the others: its place in the output, or its id where that is missing."""
    place = event.get("output_index")
    if type(place) is int:
        return place
    item_id = event.get("item_id") if item is None else item.get("id")
    return item_id if type(item_id) is str else ""


def _number_of(event: dict[str, Any], key: str) -> int:
    value = event.get(key)
    return value if type(value) is int else 0


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _escaped(text: str) -> str:
    """Return ``text`` as it stands between the quotes of a JSON string."""
    return orjson.dumps(text)[1:-1].decode()
