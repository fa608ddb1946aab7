"""OpenAI's Responses, as the provider answers them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

from proxy.demo.accepted import EVENT_STREAM, Identity
from proxy.demo.node import Node, read_object
from proxy.demo.opaque import derived, sign
from proxy.demo.plan import Broken, Call, Cut, Frame, Plan, Text, Thought, Wait
from proxy.demo.prompt import Prompt
from proxy.demo.responses_request import read_prompt

Item = dict[str, object]


def read(body: bytes, identity: Identity) -> ResponsesCall:
    """The request, or Refused as OpenAI would refuse it."""
    root = Node(read_object(body))
    reasoning = root.node("reasoning")
    return ResponsesCall(
        prompt=read_prompt(root),
        identity=identity,
        stream=root.flag("stream"),
        summary_shown=bool(reasoning and reasoning.text("summary")),
        encrypted="reasoning.encrypted_content" in root.texts("include"),
    )


def count(body: bytes) -> bytes:
    """The answer of ``/responses/input_tokens``."""
    tokens = read_prompt(Node(read_object(body))).tokens
    return orjson.dumps({"object": "response.input_tokens", "input_tokens": tokens})


@dataclass(frozen=True, slots=True)
class ResponsesCall:
    prompt: Prompt
    identity: Identity
    stream: bool
    summary_shown: bool
    encrypted: bool
    content_type: str = EVENT_STREAM

    def document(self, plan: Plan) -> bytes:
        return orjson.dumps(self._final(plan))

    def frames(self, plan: Plan) -> Iterator[Frame]:
        events = _Events()
        yield events.frame("response.created", response=self._response("in_progress"))
        yield events.frame("response.in_progress", response=self._response("in_progress"))
        answer = _Answer(self, plan, events)
        for step in plan.steps:
            match step:
                case Thought(text):
                    yield from answer.thought(text)
                case Text(text):
                    yield from answer.text(text)
                case Call():
                    yield from answer.call(step)
                case Broken():
                    yield from self._failed(events)
                    return
                case Wait() | Cut():
                    yield step
        yield from answer.close()
        kind = "response.incomplete" if plan.finish == "length" else "response.completed"
        yield events.frame(kind, response=self._final(plan))

    def _failed(self, events: _Events) -> Iterator[bytes]:
        code, message = "server_error", "The model failed midway."
        yield events.frame("error", code=code, message=message, param=None)
        error = {"code": code, "message": message}
        yield events.frame("response.failed", response={**self._response("failed"), "error": error})

    def _final(self, plan: Plan) -> dict[str, object]:
        cut = plan.finish == "length"
        response = self._response("incomplete" if cut else "completed")
        if cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        response["output"] = list(self.items(plan))
        response["usage"] = {
            "input_tokens": plan.input,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": plan.output,
            "output_tokens_details": {"reasoning_tokens": plan.reasoning},
            "total_tokens": plan.input + plan.output,
        }
        return response

    def items(self, plan: Plan) -> Iterator[Item]:
        """The finished output items, in the order they are said."""
        if plan.thinking:
            yield self.reasoning(plan.thinking)
        if plan.text:
            yield self.message(plan.text, "incomplete" if plan.finish == "length" else "completed")
        for call in plan.calls:
            yield self.function_call(call, call.arguments, "completed")

    def reasoning(self, text: str) -> Item:
        item: Item = {"id": self.item_id("rs"), "type": "reasoning", "summary": []}
        if self.summary_shown and text:
            item["summary"] = [_summary(text)]
        if self.encrypted:
            item["encrypted_content"] = sign(text)
        return item

    def message(self, text: str, status: str) -> Item:
        content = [] if status == "in_progress" else [_part(text)]
        return {
            "id": self.item_id("msg"),
            "type": "message",
            "status": status,
            "content": content,
            "role": "assistant",
        }

    def function_call(self, call: Call, arguments: str, status: str) -> Item:
        return {
            "id": self.item_id("fc", call.ordinal),
            "type": "function_call",
            "status": status,
            "arguments": arguments,
            "call_id": f"call_{derived(self.identity.id, call.ordinal)}",
            "name": call.name,
        }

    def item_id(self, prefix: str, *names: object) -> str:
        return f"{prefix}_{derived(self.identity.id, prefix, *names)}"

    def _response(self, status: str) -> dict[str, object]:
        return {
            "id": f"resp_{self.identity.id}",
            "object": "response",
            "created_at": self.identity.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": self.prompt.max_tokens,
            "metadata": {},
            "model": self.prompt.model.id,
            "output": [],
            "parallel_tool_calls": self.prompt.parallel,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
        }


class _Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._number = -1

    def frame(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        payload = {"type": kind, "sequence_number": self._number, **fields}
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(payload))


class _Answer:
    """The output items of one stream: one is open at a time, and each closes before the next."""

    def __init__(self, call: ResponsesCall, plan: Plan, events: _Events) -> None:
        self._call = call
        self._plan = plan
        self._events = events
        self._index = -1
        self._open: Literal["", "reasoning", "message"] = ""

    def thought(self, text: str) -> Iterator[bytes]:
        shown = self._call.summary_shown
        if self._open != "reasoning":
            yield self._added(self._call.reasoning(""))
            self._open = "reasoning"
            if shown:
                part = _summary("")
                yield self._event("reasoning_summary_part.added", "rs", summary_index=0, part=part)
        if shown:
            yield self._event("reasoning_summary_text.delta", "rs", summary_index=0, delta=text)

    def text(self, text: str) -> Iterator[bytes]:
        if self._open != "message":
            yield from self.close()
            yield self._added(self._call.message("", "in_progress"))
            self._open = "message"
            yield self._event("content_part.added", "msg", content_index=0, part=_part(""))
        yield self._event("output_text.delta", "msg", content_index=0, delta=text, logprobs=[])

    def call(self, call: Call) -> Iterator[bytes]:
        yield from self.close()
        yield self._added(self._call.function_call(call, "", "in_progress"))
        place = {"item_id": self._call.item_id("fc", call.ordinal), "output_index": self._index}
        for fragment in call.fragments():
            kind = "response.function_call_arguments.delta"
            yield self._events.frame(kind, **place, delta=fragment)
        kind = "response.function_call_arguments.done"
        yield self._events.frame(kind, **place, name=call.name, arguments=call.arguments)
        yield self._done(self._call.function_call(call, call.arguments, "completed"))

    def close(self) -> Iterator[bytes]:
        plan, opened = self._plan, self._open
        self._open = ""
        if opened == "reasoning":
            text = plan.thinking
            if self._call.summary_shown:
                yield self._event("reasoning_summary_text.done", "rs", summary_index=0, text=text)
                part = _summary(text)
                yield self._event("reasoning_summary_part.done", "rs", summary_index=0, part=part)
            yield self._done(self._call.reasoning(text))
        if opened == "message":
            text = plan.text
            status = "incomplete" if plan.finish == "length" else "completed"
            yield self._event("output_text.done", "msg", content_index=0, text=text, logprobs=[])
            yield self._event("content_part.done", "msg", content_index=0, part=_part(text))
            yield self._done(self._call.message(text, status))

    def _added(self, item: Item) -> bytes:
        self._index += 1
        return self._events.frame("response.output_item.added", output_index=self._index, item=item)

    def _done(self, item: Item) -> bytes:
        return self._events.frame("response.output_item.done", output_index=self._index, item=item)

    def _event(self, kind: str, prefix: str, **fields: object) -> bytes:
        place = {"item_id": self._call.item_id(prefix), "output_index": self._index}
        return self._events.frame(f"response.{kind}", **place, **fields)


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
