"""Anthropic's Messages, as the provider answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from proxy.demo.accepted import EVENT_STREAM, Identity
from proxy.demo.messages_request import read_prompt
from proxy.demo.node import Node, read_object
from proxy.demo.opaque import derived, sign
from proxy.demo.plan import Broken, Call, Cut, Finish, Frame, Plan, Text, Thought, Wait
from proxy.demo.prompt import Prompt
from proxy.demo.refusal import MISSING_FIELD, UNKNOWN_FIELD, Refused

_ERRORS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

_STOP_REASONS: Mapping[Finish, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
}

# Fields whose own sentence is better known than the general one.
_SENTENCES = {MISSING_FIELD: "Field required", UNKNOWN_FIELD: "Extra inputs are not permitted"}


def read(body: bytes, version: str, identity: Identity) -> MessagesCall:
    """The request, or Refused as Anthropic would refuse it; ``version`` is the header's."""
    root = Node(read_object(body))
    return MessagesCall(
        prompt=read_prompt(root, version),
        identity=identity,
        stream=root.flag("stream"),
        thinking_shown=_thinking_shown(root),
    )


def count(body: bytes, version: str) -> bytes:
    """The answer of ``count_tokens``, which takes a request without ``max_tokens``."""
    prompt = read_prompt(Node(read_object(body)), version, counting=True)
    return orjson.dumps({"input_tokens": prompt.tokens})


def _thinking_shown(root: Node) -> bool:
    thinking = root.node("thinking")
    return thinking is None or thinking.text("display") != "omitted"


def error_body(refused: Refused, request_id: str) -> bytes:
    path = (refused.param or "").replace("[", ".").replace("]", "")
    message = _SENTENCES.get(refused.code or "", refused.message)
    return orjson.dumps(
        {
            "type": "error",
            "error": {
                "type": _ERRORS.get(refused.status, "api_error"),
                "message": f"{path}: {message}" if path else message,
            },
            "request_id": request_id,
        }
    )


@dataclass(frozen=True, slots=True)
class MessagesCall:
    prompt: Prompt
    identity: Identity
    stream: bool
    thinking_shown: bool
    content_type: str = EVENT_STREAM

    def document(self, plan: Plan) -> bytes:
        content: list[dict[str, object]] = []
        if plan.thinking:
            shown = plan.thinking if self.thinking_shown else ""
            signature = sign(plan.thinking)
            content.append({"type": "thinking", "thinking": shown, "signature": signature})
        if plan.text:
            content.append({"type": "text", "text": plan.text})
        content += [
            {**self._tool(call), "input": orjson.loads(call.arguments)} for call in plan.calls
        ]
        usage = {**_usage(plan, plan.output), "output_tokens_details": _details(plan)}
        return orjson.dumps({**self._message(usage), "content": content, **_end(plan)})

    def frames(self, plan: Plan) -> Iterator[Frame]:
        # The real message_start already counts the first token.
        yield _frame("message_start", message=self._message(_usage(plan, 1)))
        yield b'event: ping\ndata: {"type": "ping"}\n\n'
        blocks = _Blocks()
        for step in plan.steps:
            match step:
                case Thought(text):
                    start = {"type": "thinking", "thinking": "", "signature": ""}
                    yield from blocks.enter("thinking", start)
                    if self.thinking_shown:
                        yield blocks.delta("thinking_delta", thinking=text)
                case Text(text):
                    yield from self._sign(blocks, plan)
                    yield from blocks.enter("text", {"type": "text", "text": ""})
                    yield blocks.delta("text_delta", text=text)
                case Call(ordinal, _, arguments):
                    yield from self._sign(blocks, plan)
                    yield from blocks.enter(f"call {ordinal}", self._tool(step))
                    # The real one opens with an empty fragment, and sends no other without arguments.
                    yield blocks.delta("input_json_delta", partial_json="")
                    for fragment in step.fragments() if arguments != "{}" else ():
                        yield blocks.delta("input_json_delta", partial_json=fragment)
                case Broken():
                    error = {"type": "overloaded_error", "message": "Overloaded"}
                    yield _frame("error", error=error, request_id=self.request_id)
                    return
                case Wait() | Cut():
                    yield step
        yield from self._sign(blocks, plan)
        yield from blocks.leave()
        usage = {**_usage(plan, plan.output), "output_tokens_details": _details(plan)}
        for name in ("cache_creation", "service_tier"):  # told at the start only
            del usage[name]
        yield _frame("message_delta", delta=_end(plan), usage=usage)
        yield _frame("message_stop")

    @property
    def request_id(self) -> str:
        return f"req_{self.identity.id}"

    def _sign(self, blocks: _Blocks, plan: Plan) -> Iterator[bytes]:
        if blocks.open == "thinking":
            yield blocks.delta("signature_delta", signature=sign(plan.thinking))
            yield from blocks.leave()

    def _message(self, usage: dict[str, object]) -> dict[str, object]:
        return {
            "model": self.prompt.model.id,
            "id": f"msg_{self.identity.id}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": usage,
        }

    def _tool(self, call: Call) -> dict[str, object]:
        tool_id = f"toolu_{derived(self.identity.id, call.ordinal)}"
        return {"type": "tool_use", "id": tool_id, "name": call.name, "input": {}}


class _Blocks:
    """The content block that is open, and its index."""

    def __init__(self) -> None:
        self.open = ""
        self._index = -1

    def enter(self, kind: str, block: Mapping[str, object]) -> Iterator[bytes]:
        """Open a block of that kind, unless it is the one that is open."""
        if kind == self.open:
            return
        yield from self.leave()
        self._index += 1
        self.open = kind
        yield _frame("content_block_start", index=self._index, content_block=block)

    def leave(self) -> Iterator[bytes]:
        if self.open:
            self.open = ""
            yield _frame("content_block_stop", index=self._index)

    def delta(self, kind: str, **fields: str) -> bytes:
        return _frame("content_block_delta", index=self._index, delta={"type": kind, **fields})


def _frame(kind: str, **fields: object) -> bytes:
    payload = orjson.dumps({"type": kind, **fields})
    # The real one hides the length of a token behind white space.
    padding = b" " * (len(payload) * 7 % 16)
    return b"event: %s\ndata: %s%s}\n\n" % (kind.encode(), payload[:-1], padding)


def _end(plan: Plan) -> dict[str, object]:
    return {
        "stop_reason": _STOP_REASONS[plan.finish],
        "stop_sequence": plan.stop_sequence,
        "stop_details": None,
    }


def _usage(plan: Plan, output: int) -> dict[str, object]:
    return {
        "input_tokens": plan.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }


def _details(plan: Plan) -> dict[str, int]:
    return {"thinking_tokens": plan.reasoning}
