"""A chat upstream's answer, streamed or whole, played on a turn.

Compatible servers agree on the shape and on little else. What the recordings show, and what is made of it:

1. ``finish_reason`` is not the end: usage may follow it, even the whole answer (Baseten). So the end is played at ``[DONE]`` or
   at the end of the body. Content after it counts only where no text and no call came before it.
2. Tool calls are told apart by ``index``, where that is missing by ``id``, where both are missing by a new name. Ids and names
   may be repeated or empty, and a name may come late: a call starts when its name is known.
3. An error may stand in a chunk or in a choice, and the stream may go on after it: nothing after it counts.
"""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects import envelope, refusal
from proxy.dialects.depth import loads
from proxy.dialects.turn import StopReason, Turn
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage, count, inclusive

Object = dict[str, Any]

_REASONS: dict[str, StopReason] = {
    "stop": StopReason.STOP,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.FILTER,
    "sensitive": StopReason.FILTER,  # Z.ai
    "model_length": StopReason.CONTEXT,  # Mistral
    "model_context_window_exceeded": StopReason.CONTEXT,  # Z.ai
}
# A server's own word for having failed, where a reason is expected.
_FAILURES: dict[str, Kind] = {
    "error": Kind.SERVER,
    "abort": Kind.SERVER,
    "network_error": Kind.SERVER,
    "insufficient_system_resource": Kind.OVERLOADED,
}
_DONE = b"[DONE]"
_LEGACY = "function_call"


class _Call:
    """A tool call on its way: ``number`` is None until it has a name; until then its arguments are kept.

    ``place`` is the upstream's own number for it, if it has one.
    """

    __slots__ = ("call_id", "kept", "number", "place", "signature")

    def __init__(self, place: int | None) -> None:
        self.place = place
        self.number: int | None = None
        self.call_id = ""
        self.signature = ""
        self.kept: list[str] = []


class Decoder:
    """Plays one answer on ``turn``; ``ignored`` counts the events that were no JSON object."""

    def __init__(self, turn: Turn, flags: Flags) -> None:
        self.ended = False
        self.ignored = 0
        self._turn = turn
        self._flags = flags
        self._begun = False
        self._said = False
        self._closed = False
        self._finish: str | None = None
        self._refusal: list[str] = []
        self._calls: dict[int | str, _Call] = {}
        self._last: _Call | None = None
        self._started = 0
        self._numbers: set[int] = set()
        self._tier: str | None = None

    # A stream.

    def event(self, name: bytes | None, data: bytes) -> None:
        """Take one event; this runs once a token."""
        if self.ended:
            return
        if data == _DONE:
            self._conclude()
            return
        try:
            chunk = loads(data)
        except orjson.JSONDecodeError:
            self.ignored += 1
            return
        if type(chunk) is not dict:
            self.ignored += 1
            return
        choices = chunk.get("choices")
        if choices and not self._begun:
            self._begin(chunk)
        if chunk.get("usage") or "x_groq" in chunk:
            self._take_usage(chunk)
        if "error" in chunk or not choices:
            self._take_without_choices(name, chunk)
            if self.ended:
                return
        if type(choices) is list:
            for choice in choices:
                if type(choice) is dict and not choice.get("index"):
                    self._take_choice(choice)
                    return

    def finish(self) -> None:
        """Take the end of the body."""
        if self.ended:
            return
        if self._finish is None:
            self._fail(GatewayError(Kind.DISCONNECTED))
        else:
            self._conclude()

    def _begin(self, chunk: Object) -> None:
        self._begun = True
        self._turn.begin(_text(chunk.get("model")), _text(chunk.get("id")))
        tier = chunk.get("service_tier")
        self._tier = tier if isinstance(tier, str) else None

    def _take_usage(self, chunk: Object) -> None:
        usage = chunk.get("usage")
        groq = chunk.get("x_groq")
        if not usage and isinstance(groq, dict):
            usage = groq.get("usage")
        if isinstance(usage, dict) and usage:
            tier = chunk.get("service_tier")
            if isinstance(tier, str):
                self._tier = tier
            self._turn.usage(read_usage(usage, self._flags, tier=self._tier))

    def _take_without_choices(self, name: bytes | None, chunk: Object) -> None:
        """Take a chunk that says something else than what the model said: an error, or nothing that matters."""
        error = chunk.get("error")
        if error:
            self._fail(refusal.classify_event(error))
        elif name == b"error" or chunk.get("object") == "error":
            self._fail(refusal.classify_event(chunk))

    def _take_choice(self, choice: Object) -> None:
        delta = choice.get("delta")
        if type(delta) is dict:
            if not self._closed:
                self._take_delta(delta)
        elif not self._said and isinstance(choice.get("message"), dict):
            # A document in a stream's clothes. Beside a delta it repeats what was said (Perplexity).
            self._take_delta(choice["message"])
        error = choice.get("error")
        if error:
            self._fail(refusal.classify_event(error))
            return
        reason = choice.get("finish_reason")
        if reason and not self._closed and isinstance(reason, str):
            self._finish = reason
            self._closed = self._said
            if reason in _FAILURES:
                self._fail(GatewayError(_FAILURES[reason], evidence=f"finish_reason {reason}"))

    def _take_delta(self, delta: Object) -> None:
        """Play what one delta, or one whole message, says."""
        turn = self._turn
        content = delta.get("content")
        # Some servers send the same thought under both names, or as details, too.
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and type(thought) is str:
            turn.thinking(thought)
        elif "reasoning_details" in delta:
            self._take_details(delta["reasoning_details"])
        if content:
            if type(content) is str:
                self._said = True
                turn.text(content)
            else:
                self._take_parts(content)
        if len(delta) > 1 or content is None:
            self._take_rest(delta)

    def _take_rest(self, delta: Object) -> None:
        """Play what only few deltas hold."""
        refused = delta.get("refusal")
        if refused and isinstance(refused, str):
            self._said = True
            self._refusal.append(refused)
            self._turn.refusal(refused)
        images = delta.get("images")
        if images:
            self._take_images(images)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._take_call(call)
        call = delta.get("function_call")
        if isinstance(call, dict):
            self._continue(self._known(_LEGACY), call)

    def _take_details(self, details: object) -> None:
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict):
                for key in ("text", "summary"):
                    said = detail.get(key)
                    if said and isinstance(said, str):
                        self._turn.thinking(said)
                        break

    def _take_parts(self, content: object) -> None:
        """Play content that is a list of parts (Mistral): texts, and thinking that holds parts of its own."""
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            said = part.get("text")
            if said and isinstance(said, str):
                self._said = True
                self._turn.text(said)
            inner = part.get("thinking")
            if isinstance(inner, str):
                inner = [{"text": inner}]
            for thought in inner if isinstance(inner, list) else ():
                if (
                    isinstance(thought, dict)
                    and thought.get("text")
                    and isinstance(thought["text"], str)
                ):
                    self._turn.thinking(thought["text"])

    def _take_images(self, images: object) -> None:
        for image in images if isinstance(images, list) else ():
            match image:
                case {"image_url": {"url": str(url)}} if url.startswith("data:"):
                    head, _, data = url.partition(",")
                    self._said = True
                    self._turn.image(head[len("data:") :].partition(";")[0], data)
                case _:
                    pass

    # Tool calls.

    def _take_call(self, told: Object) -> None:
        call = self._find(told)
        if call.number is None:
            call.call_id = call.call_id or _text(told.get("id"))
            match told:
                case {"extra_content": {"google": {"thought_signature": str(seal)}}} if seal:
                    call.signature = envelope.wrap("gem", seal)
                case _:
                    pass
        function = told.get("function") or told.get("custom")
        if isinstance(function, dict):
            self._continue(call, function)

    def _find(self, told: Object) -> _Call:
        index = told.get("index")
        if type(index) is int:
            return self._known(index)
        call_id = _text(told.get("id"))
        if call_id:
            return self._known(call_id)
        function = told.get("function")
        named = isinstance(function, dict) and bool(function.get("name"))
        if self._last is None or (named and self._last.number is not None):
            return self._known(f"#{len(self._calls)}")
        return self._last

    def _known(self, key: int | str) -> _Call:
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(key if isinstance(key, int) and key >= 0 else None)
        self._last = call
        return call

    def _continue(self, call: _Call, function: Object) -> None:
        """Play a fragment of a call: the name starts it once, arguments wait for the name."""
        if call.number is None:
            name = function.get("name")
            if name and isinstance(name, str):
                call.number = self._numbered(call.place)
                self._said = True
                self._turn.tool_call(call.number, call.call_id, name, call.signature)
                for kept in call.kept:
                    self._turn.arguments(call.number, kept)
        fragment = function.get("arguments")
        if fragment is None:
            fragment = function.get("input")
        if isinstance(fragment, dict):
            fragment = orjson.dumps(fragment).decode()
        if fragment and isinstance(fragment, str):
            if call.number is None:
                call.kept.append(fragment)
            else:
                self._turn.arguments(call.number, fragment)

    def _numbered(self, place: int | None) -> int:
        """Return the number of a call that starts: its place if that is free, else the one after all that have begun."""
        number = self._started if place is None or place in self._numbers else place
        self._numbers.add(number)
        self._started = max(self._started, number + 1)
        return number

    # A whole answer.

    def answer(self, document: object) -> None:
        """Take a whole document. Each of several choices ends on its own, so that each keeps its reason."""
        choices = document.get("choices") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(choices, list) or not choices:
            self._fail(_no_answer(document))
            return
        self._begin(document)
        self._take_usage(document)
        for index, choice in enumerate(choices):
            if index:
                self._turn_to(index)
            if isinstance(choice, dict):
                self._take_choice({**choice, "delta": None})
            if self.ended:
                return
            self._end()
        self.ended = True

    def _turn_to(self, index: int) -> None:
        self._turn.choice(index)
        self._calls.clear()
        self._refusal.clear()
        self._last = self._finish = None
        self._started = 0
        self._numbers.clear()
        self._said = self._closed = False

    # The end.

    def _conclude(self) -> None:
        if not self._begun:
            self._fail(GatewayError(Kind.MALFORMED, evidence="a stream without an answer"))
            return
        self._end()
        self.ended = True

    def _end(self) -> None:
        reason = _REASONS.get(self._finish or "stop", StopReason.STOP)
        detail = "".join(self._refusal) or None
        if reason is StopReason.STOP and self._started:
            reason = StopReason.TOOL_CALLS
        self._turn.end(reason, detail=detail)

    def _fail(self, error: GatewayError) -> None:
        self.ended = True
        self._turn.fail(error)


def read_usage(raw: object, flags: Flags, *, tier: str | None = None) -> Usage:
    """Return what a ``usage`` object tells: prompt tokens include cached ones, completion tokens include reasoning.

    Where a provider counts reasoning outside (``flags.reasoning_outside``), the total has it.
    """
    if not isinstance(raw, dict):
        return Usage(tier=tier)
    input_total = count(raw.get("prompt_tokens"))
    output = count(raw.get("completion_tokens"))
    if flags.reasoning_outside:
        output = max(output, count(raw.get("total_tokens")) - input_total)
    if len(raw) <= _PLAIN_FIELDS and "total_tokens" in raw:
        return inclusive(input_total=input_total, output=output, tier=tier)
    prompt = _object(raw.get("prompt_tokens_details"))
    completion = _object(raw.get("completion_tokens_details"))
    return inclusive(
        input_total=input_total,
        output=output,
        # DeepSeek, Moonshot and resellers of Claude have names of their own.
        cache_read=count(prompt.get("cached_tokens"))
        or count(raw.get("prompt_cache_hit_tokens"))
        or count(raw.get("cached_tokens")),
        cache_write=count(prompt.get("cache_write_tokens"))
        or count(raw.get("cache_creation_input_tokens")),
        reasoning=count(completion.get("reasoning_tokens")) or count(raw.get("reasoning_tokens")),
        audio_input=count(prompt.get("audio_tokens")),
        audio_output=count(completion.get("audio_tokens")),
        searches=count(raw.get("num_search_queries")),
        tier=tier,
    )


_PLAIN_FIELDS = 3
"""Prompt, completion and total: a usage of no more fields has no shares to look for."""


def _no_answer(document: object) -> GatewayError:
    """Return the failure of a document without choices: an error with status 200, or something unreadable."""
    if isinstance(document, dict) and document.get("error"):
        return refusal.classify_event(document["error"])
    if isinstance(document, dict) and document.get("object") == "error":
        return refusal.classify_event(document)
    return GatewayError(Kind.MALFORMED, evidence="a chat completion without choices")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Object:
    return value if isinstance(value, dict) else {}
