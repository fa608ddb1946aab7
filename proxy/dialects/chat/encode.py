"""A turn as a chat client reads it: frames of a stream, or a whole document.

What OpenAI has no field for travels in fields that others have made common: ``reasoning_content`` for thinking,
``thinking_blocks`` for Anthropic's sealed blocks, ``reasoning_details`` for OpenAI's encrypted reasoning,
``extra_content.google`` for Gemini's seal on a call, ``images`` for pictures. Entries of such a list carry an ``index`` in a
stream: OpenAI's SDK refuses a list that comes twice without.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from proxy.dialects import envelope
from proxy.dialects.chat.shapes import (
    Object,
    client_id,
    cost_members,
    encrypted_detail,
    error_frame,
    extra_content,
    finish_reason,
    picture,
    write_usage,
)
from proxy.dialects.collected import Choice, Collected
from proxy.dialects.conversation import Call, Image, Redacted, Refusal, Thinking
from proxy.dialects.reply import Meter, Reply, Sealed
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage

HEARTBEAT: bytes | None = b": keep-alive\n\n"

_DONE = b"data: [DONE]\n\n"
# Every provider's word for a service tier, and OpenAI's; what is not here is not told.
_TIERS = {
    "standard": "default",
    "default": "default",
    "priority": "priority",
    "flex": "flex",
    "scale": "scale",
}
_END = b'},"finish_reason":null}]}\n\n'
"""What follows the fields of a delta, up to the end of the frame."""


class _Opening(NamedTuple):
    """The first frame of a call, and what to put around arguments to make the frame that has them, too."""

    frame: bytes
    before: bytes
    after: bytes


class Encoder:
    """Renders each verb as a frame at once. A stream shows the first of several alternative answers only.

    A call whose arguments come while its first frame is still in ``frames`` has them in that frame.
    """

    def __init__(self, reply: Reply, meter: Meter) -> None:
        self.frames: list[bytes] = []
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self.answer_id = ""
        self._reply = reply
        self._meter = meter
        self._seals = None if reply.remember is None else _Seals(reply)
        self._hidden = False
        self._refused = False
        # Indexes of the next entry of each list.
        self._block = self._detail = self._image = 0
        self._block_is_open = False
        # What stands before a value, built once for each stream or call.
        self._head = self._delta = self._content = self._reasoning = b""
        self._arguments: dict[int, tuple[bytes, bytes]] = {}
        self._openings: dict[int, _Opening] = {}

    def begin(self, model: str, answer_id: str) -> None:
        """Render the frame that every stream starts with. The client is told the model that it asked for."""
        del model
        if self._head:
            return
        reply = self._reply
        self.answer_id = client_id(answer_id, reply)
        told = orjson.dumps(
            {
                "id": self.answer_id,
                "object": "chat.completion.chunk",
                "created": reply.created,
                "model": reply.model,
            }
        )
        self._head = b"data: " + told[:-1] + b',"choices":['
        self._delta = self._head + b'{"index":0,"delta":{'
        self._content = self._delta + b'"content":'
        self._reasoning = self._delta + b'"reasoning_content":'
        self.frames.append(self._delta + b'"role":"assistant","content":""' + _END)

    def choice(self, index: int) -> None:
        self._hidden = index != 0

    # What the model says. These run once a token.

    def text(self, delta: str) -> None:
        if not delta or self._hidden:
            return
        self.committed = True
        self._meter.saw(delta)
        self.frames.append(self._content + orjson.dumps(delta) + _END)

    def thinking(self, delta: str) -> None:
        if not delta or self._hidden:
            return
        self.committed = True
        self._meter.saw(delta)
        if self._seals is not None:
            self._seals.thinking(delta)
        said = orjson.dumps(delta)
        if not self._reply.thinking_blocks:
            self.frames.append(self._reasoning + said + _END)
            return
        self._block_is_open = True
        self.frames.append(
            b'%b%b,"thinking_blocks":[{"index":%d,"type":"thinking","thinking":%b}]%b'
            % (self._reasoning, said, self._block, said, _END)
        )

    def arguments(self, index: int, delta: str) -> None:
        if not delta or self._hidden:
            return
        self._meter.saw(delta)
        value = orjson.dumps(delta)
        if self._openings and self._opened(index, value):
            return
        around = self._arguments.get(index)
        if around is not None:  # a second call of the ``functions`` era has no frames
            self.frames.append(around[0] + value + around[1])

    # Everything else.

    def signature(self, opaque: str) -> None:
        """Render the seal of the thinking before it, for a client that asked for reasoning."""
        if self._hidden:
            return
        if self._seals is not None:
            self._seals.signature(opaque)
        if not self._reply.thinking_blocks:
            return
        encrypted = envelope.open_for("oai", opaque)
        if encrypted is not None:
            self._encrypted(encrypted)
        else:
            block: Object = {"index": self._block, "type": "thinking"}
            if not self._block_is_open:
                block["thinking"] = ""
            self._field("thinking_blocks", [{**block, "signature": opaque}])
        # A seal closes its block: text that comes after it belongs to another.
        self._block += 1
        self._block_is_open = False

    def redacted(self, opaque: str) -> None:
        if self._hidden:
            return
        self.committed = True
        if self._seals is not None:
            self._seals.redacted(opaque)
        if not self._reply.thinking_blocks:
            return
        encrypted = envelope.open_for("oai", opaque)
        if encrypted is not None:
            self._encrypted(encrypted)
            return
        self._block += self._block_is_open
        self._block_is_open = False
        self._field(
            "thinking_blocks", [{"index": self._block, "type": "redacted_thinking", "data": opaque}]
        )
        self._block += 1

    def refusal(self, delta: str) -> None:
        if not delta or self._hidden:
            return
        self.committed = self._refused = True
        self._meter.saw(delta)
        self._field("refusal", delta)

    def image(self, mime: str, data: str) -> None:
        if self._hidden:
            return
        self.committed = True
        self._field("images", [{"index": self._image, **picture(mime, data)}])
        self._image += 1

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        if self._hidden:
            return
        self.committed = True
        call_id = call_id or f"call_{self._reply.mint()}"
        if self._seals is not None:
            self._seals.call(call_id, name, signature)
        if self._reply.legacy_functions:
            self._open_legacy(index, name)
            return
        kind, field = (
            ("custom", "input") if name in self._reply.custom_tools else ("function", "arguments")
        )
        entry = orjson.dumps({"index": index, "id": call_id, "type": kind})[:-1]
        named = b',"%b":{"name":%b,"%b":' % (kind.encode(), orjson.dumps(name), field.encode())
        before = self._delta + b'"tool_calls":[' + entry + named
        after = b"}" + extra_content(signature) + b"}]" + _END
        self._open(index, _Opening(before + b'""' + after, before, after))
        self._arguments[index] = (
            b'%b"tool_calls":[{"index":%d,"%b":{"%b":'
            % (self._delta, index, kind.encode(), field.encode()),
            b"}}]" + _END,
        )

    def call_done(self, index: int) -> None:
        """Give a call without arguments the empty object: clients parse what they have put together."""
        if index in self._openings and b'"type":"custom"' not in self._openings[index].frame:
            self._opened(index, b'"{}"')

    def usage(self, usage: Usage) -> None:
        self._meter.reported = usage

    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None:
        del stop_sequence  # OpenAI does not tell which one it was
        if self.ended:
            return
        if reason is StopReason.BROKEN and not self.committed:
            self.fail(GatewayError(Kind.MALFORMED))
            return
        for index in list(self._openings):
            self.call_done(index)
        if reason is StopReason.FILTER and detail and not self._refused:
            self._field("refusal", detail)
        told = finish_reason(reason, self._reply)
        self.frames.append(self._delta + b'},"finish_reason":"' + told.encode() + b'"}]}\n\n')
        if self._reply.include_usage:
            usage = self._meter.usage(self._reply.estimate_input)
            consumed = orjson.dumps(write_usage(usage))
            if self._reply.charge is not None:
                paid = cost_members(self._reply.charge(usage))
                consumed = consumed[:-1] + b"," + paid + b"}"
            self.frames.append(self._head + b'],"usage":' + consumed + b"}\n\n")
        self.frames.append(_DONE)
        self.committed = self.ended = True

    def fail(self, error: GatewayError) -> None:
        if self.ended:
            return
        self.error = error
        self.ended = True
        self.frames.append(error_frame(error, self._reply.request_id))

    # Frames.

    def _field(self, name: str, value: object) -> None:
        self.frames.append(self._delta + orjson.dumps({name: value})[1:-1] + _END)

    def _encrypted(self, data: str) -> None:
        self._field("reasoning_details", [{"index": self._detail, **encrypted_detail(data)}])
        self._detail += 1

    def _open_legacy(self, index: int, name: str) -> None:
        """Open a call of the ``functions`` era, which knew no more than one."""
        before = b'%b"function_call":{"name":%b,"arguments":' % (self._delta, orjson.dumps(name))
        after = b"}" + _END
        if index == 0:
            self._open(index, _Opening(before + b'""' + after, before, after))
            self._arguments[index] = (self._delta + b'"function_call":{"arguments":', after)

    def _open(self, index: int, opening: _Opening) -> None:
        self._openings[index] = opening
        self.frames.append(opening.frame)

    def _opened(self, index: int, value: bytes) -> bool:
        """Render the first arguments of a call; tell whether these were the first."""
        opening = self._openings.pop(index, None)
        if opening is None:
            return False
        if self.frames and self.frames[-1] is opening.frame:
            self.frames[-1] = opening.before + value + opening.after
        else:
            before, after = self._arguments[index]
            self.frames.append(before + value + after)
        return True


class _Seals:
    """Hands the seals that came before the first call to ``reply.remember``, with that call's id."""

    def __init__(self, reply: Reply) -> None:
        self._remember = reply.remember
        self._thought: list[str] = []
        self._parts: list[Sealed] = []

    def thinking(self, delta: str) -> None:
        self._thought.append(delta)

    def signature(self, opaque: str) -> None:
        self._parts.append(Thinking("".join(self._thought), opaque))
        self._thought.clear()

    def redacted(self, opaque: str) -> None:
        self._parts.append(Redacted(opaque))

    def call(self, call_id: str, name: str, signature: str) -> None:
        if signature:
            self._parts.append(Call(call_id, name, "", signature))
        if self._remember is not None and self._parts:
            self._remember(call_id, tuple(self._parts))
        self._remember = None


# A whole answer.


def write_answer(collected: Collected, reply: Reply, usage: Usage) -> Object:
    """Return the document of a whole answer."""
    document: Object = {
        "id": client_id(collected.answer_id, reply),
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [
            _choice(index, choice, reply) for index, choice in enumerate(collected.choices)
        ],
        "usage": write_usage(usage),
    }
    tier = _TIERS.get((usage.tier or "").lower())
    if tier is not None:
        document["service_tier"] = tier
    return document


def _choice(index: int, choice: Choice, reply: Reply) -> Object:
    reason = choice.reason
    if reason is StopReason.STOP and choice.calls:
        reason = StopReason.TOOL_CALLS
    return {
        "index": index,
        "message": _message(choice, reply),
        "finish_reason": finish_reason(reason, reply),
        "logprobs": None,
    }


def _message(choice: Choice, reply: Reply) -> Object:
    calls = [_call(call, reply) for call in choice.calls]
    thought = "".join(part.text for part in choice.parts if isinstance(part, Thinking))
    refused = "".join(part.text for part in choice.parts if isinstance(part, Refusal))
    if not refused and choice.reason is StopReason.FILTER:
        refused = choice.detail or ""
    shown = [part for part in choice.parts if isinstance(part, Image)]
    images = [
        {"index": index, **picture(part.mime or "", part.data or "")}
        for index, part in enumerate(shown)
    ]
    message: Object = {"role": "assistant", "content": choice.text or (None if calls else "")}
    if thought:
        message["reasoning_content"] = thought
    message["refusal"] = refused or None
    if reply.thinking_blocks:
        message |= _sealed_fields(choice)
    if images:
        message["images"] = images
    if calls and reply.legacy_functions:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    _remember(choice, calls, reply)
    return message


def _call(call: Call, reply: Reply) -> Object:
    written: Object = {"id": call.id or f"call_{reply.mint()}"}
    if call.name in reply.custom_tools:
        return {**written, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    written |= {
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    seal = envelope.open_for("gem", call.signature)
    if seal is not None:
        written["extra_content"] = {"google": {"thought_signature": seal}}
    return written


def _sealed_fields(choice: Choice) -> Object:
    blocks: list[Object] = []
    details: list[Object] = []
    for part in choice.parts:
        if not isinstance(part, Thinking | Redacted):
            continue
        opaque = part.signature if isinstance(part, Thinking) else part.data
        encrypted = envelope.open_for("oai", opaque)
        if encrypted is not None:
            details.append(encrypted_detail(encrypted))
        elif isinstance(part, Redacted):
            blocks.append({"type": "redacted_thinking", "data": opaque})
        elif opaque:
            blocks.append({"type": "thinking", "thinking": part.text, "signature": opaque})
    fields: Object = {}
    if blocks:
        fields["thinking_blocks"] = blocks
    if details:
        fields["reasoning_details"] = details
    return fields


def _remember(choice: Choice, calls: list[Object], reply: Reply) -> None:
    seals = _Seals(reply)
    for part in choice.parts:
        match part:
            case Thinking():
                seals.thinking(part.text)
                if part.signature:
                    seals.signature(part.signature)
            case Redacted():
                seals.redacted(part.data)
            case Call():
                seals.call(calls[0]["id"], part.name, part.signature)
                return
            case _:
                pass
