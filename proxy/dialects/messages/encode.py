"""A turn rendered as Anthropic's Messages stream or answer, for clients that speak it.

Rules that hold in a stream, since the official SDKs build the message from them and fail otherwise:

1. Blocks are numbered from 0 without gaps, and one is open at a time: start, deltas, stop.
2. What does not belong into the open block closes it, unless that is a call whose arguments are still on their way: then it
   waits. Waiting calls follow as whole blocks in their order, each with all of its arguments in one delta.
3. A thinking block has a signature just before its stop, ``gw1:none`` where nobody sealed it.
4. The stop reason comes last, with the whole usage; an answer without any block gets an empty text.
"""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Call, Image, Part, Redacted, Refusal, Text, Thinking
from proxy.dialects.envelope import NONE, PREFIX
from proxy.dialects.messages.seals import Seals
from proxy.dialects.messages.write_messages import tool_input
from proxy.dialects.refusal import own_param
from proxy.dialects.reply import Meter, Reply
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage

HEARTBEAT: bytes | None = b'event: ping\ndata: {"type":"ping"}\n\n'
STOP_REASONS: dict[StopReason, str] = {
    StopReason.STOP: "end_turn",
    StopReason.STOP_SEQUENCE: "stop_sequence",
    StopReason.LENGTH: "max_tokens",
    StopReason.CONTEXT: "model_context_window_exceeded",
    StopReason.TOOL_CALLS: "tool_use",
    StopReason.FILTER: "refusal",
    # A client of this dialect would send the answer back to be continued, which no other upstream can do.
    StopReason.PAUSE: "max_tokens",
    StopReason.COMPACTION: "end_turn",
    StopReason.BROKEN: "end_turn",
}

_ID_PREFIXES = ("msg_", "chatcmpl-", "resp_")
_TOO_LONG = "prompt is too long: "
_NOTHING, _TEXT, _THINKING, _CALL, _ELSEWHERE = range(5)
"""What the open block is; elsewhere: another alternative answer is played, which this dialect has no place for."""
_DELTA_END = b"}}\n\n"
_NO_CALL = -1


class Encoder:
    """Renders each verb as the frames that it makes, in ``frames``."""

    def __init__(self, reply: Reply, meter: Meter) -> None:
        self.frames: list[bytes] = []
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self.answer_id = ""
        self._reply = reply
        self._meter = meter
        self._saw = meter.saw
        self._begun = False
        self._open = _NOTHING
        self._head = b""
        self._index = -1
        self._call = _NO_CALL
        self._fragments: list[str] = []
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []
        self._refusal: list[str] = []
        self._seals = Seals(reply)
        self._left = (_NOTHING, _NO_CALL)

    # Verbs.

    def begin(self, model: str, answer_id: str) -> None:  # noqa: ARG002 - the client reads the name that it used
        if self._begun:
            return
        self._begun = True
        self.answer_id = message_id(answer_id, self._reply)
        message: dict[str, Any] = {
            "id": self.answer_id,
            "type": "message",
            "role": "assistant",
            "model": self._reply.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_told_usage(self._meter.reported or Usage()), "output_tokens": 0},
        }
        self._emit("message_start", {"message": message})
        self._emit("ping", {})

    def choice(self, index: int) -> None:
        """Play along with the first alternative only."""
        if index and self._open != _ELSEWHERE:
            self._left, self._open, self._call = (self._open, self._call), _ELSEWHERE, _NO_CALL
        elif not index and self._open == _ELSEWHERE:
            self._open, self._call = self._left

    def text(self, delta: str) -> None:
        """Runs once a token."""
        if not delta or (self._open != _TEXT and not self._turn_to(_TEXT, "text", delta)):
            return
        self._saw(delta)
        self.frames.append(self._head + orjson.dumps(delta) + _DELTA_END)

    def thinking(self, delta: str) -> None:
        if not delta or (
            self._open != _THINKING and not self._turn_to(_THINKING, "thinking", delta)
        ):
            return
        self._saw(delta)
        self._seals.thought(delta)
        self.frames.append(self._head + orjson.dumps(delta) + _DELTA_END)

    def signature(self, opaque: str) -> None:
        if self._open == _THINKING:
            self._stop_thinking(opaque)
        elif opaque.startswith(PREFIX):
            # Another provider's seal without any text: this dialect's word for that is redacted thinking.
            self.redacted(opaque)
        elif opaque and self._may_open("signature", opaque):
            self._start(_THINKING)
            self._stop_thinking(opaque)

    def redacted(self, opaque: str) -> None:
        if self._may_open("redacted", opaque):
            self._seals.keep(Redacted(opaque))
            self._whole_block({"type": "redacted_thinking", "data": opaque})

    def refusal(self, delta: str) -> None:
        if self._open == _ELSEWHERE or not delta:
            return
        self._refusal.append(delta)
        self.text(delta)

    def image(self, mime: str, data: str) -> None:
        """Show an image as Markdown: the dialect has no images in answers, and one that was paid for is not to vanish."""
        if self._may_open("image", mime, data):
            self._start(_TEXT)
            self.frames.append(self._head + orjson.dumps(picture(mime, data)) + _DELTA_END)

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        if self._open == _THINKING and signature:
            self._stop_thinking(signature)
        if not self._may_open("tool_call", index, call_id, name, signature):
            return
        call_id = call_id or f"toolu_{self._reply.mint()}"
        self._start(_CALL, {"type": "tool_use", "id": call_id, "name": name, "input": {}})
        self._call = index
        self._fragments = []
        self._seals.called(call_id, name, signature)

    def arguments(self, index: int, delta: str) -> None:
        """Runs once a token of a call's arguments."""
        if index != self._call:
            if self._waiting:
                self._wait("arguments", index, delta)
            return
        if not delta:
            return
        self._saw(delta)
        self._fragments.append(delta)
        self.frames.append(self._head + orjson.dumps(delta) + _DELTA_END)

    def call_done(self, index: int) -> None:
        if index == self._call:
            self._stop()
            if self._waiting:
                self._play_waiting()
        elif self._waiting:
            self._wait("call_done", index)

    def usage(self, usage: Usage) -> None:
        self._meter.reported = usage

    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None:
        if self.ended:
            return
        if reason is StopReason.BROKEN and not self.committed:
            self.fail(GatewayError(Kind.MALFORMED))
            return
        self.choice(0)
        self.begin("", "")
        self._stop()
        while self._waiting:
            self._play_waiting()
            self._stop()
        if self._index < 0:
            self._whole_block({"type": "text", "text": ""})
        ending = _ending(
            reason, stop_sequence, detail, "".join(self._refusal), has_calls=self._seals.called_any
        )
        usage = _told_usage(self._meter.usage(self._reply.estimate_input))
        self._emit("message_delta", {"delta": ending, "usage": usage})
        self._emit("message_stop", {})
        self.committed = True
        self._close()

    def fail(self, error: GatewayError) -> None:
        if self.ended:
            return
        self.frames.append(error_frame(error, self._reply.request_id))
        self.error = error
        self._close()

    # Blocks.

    def _close(self) -> None:
        """Let nothing follow."""
        self.ended = True
        self._left = self._open, self._call = _ELSEWHERE, _NO_CALL
        self._waiting.clear()

    def _turn_to(self, kind: int, verb: str, delta: str) -> bool:
        """Open a block of ``kind`` for ``delta``, and tell whether that worked; else ``verb`` waits."""
        if not self._may_open(verb, delta):
            return False
        self._start(kind)
        return True

    def _may_open(self, verb: str, *arguments: Any) -> bool:
        """Close what is open, so that ``verb`` can open its block, and tell whether that worked; else ``verb`` waits."""
        if self._open == _ELSEWHERE:
            return False
        if self._waiting or (self._open == _CALL and not _is_whole(self._fragments)):
            self._wait(verb, *arguments)
            return False
        self._stop()
        return True

    def _start(self, kind: int, block: dict[str, Any] | None = None) -> None:
        self.begin("", "")
        self.committed = True
        self._index += 1
        self._open = kind
        start, delta = _SHAPES[kind]
        self._head = _DELTA % (self._index, delta)
        self._emit("content_block_start", {"index": self._index, "content_block": block or start})

    def _stop(self) -> None:
        if self._open == _THINKING:
            self._stop_thinking("")
        elif self._open != _NOTHING:
            if self._open == _CALL:
                self._call = _NO_CALL
                self._seals.remember()
            self._emit("content_block_stop", {"index": self._index})
            self._open = _NOTHING

    def _stop_thinking(self, seal: str) -> None:
        self._seals.sealed(seal)
        delta = {"type": "signature_delta", "signature": seal or NONE}
        self._emit("content_block_delta", {"index": self._index, "delta": delta})
        self._emit("content_block_stop", {"index": self._index})
        self._open = _NOTHING

    def _whole_block(self, block: dict[str, Any]) -> None:
        self._start(_NOTHING, block)
        self._emit("content_block_stop", {"index": self._index})

    def _wait(self, verb: str, *arguments: Any) -> None:
        if self._open == _ELSEWHERE:
            return
        if verb in ("text", "thinking", "arguments"):
            self._saw(arguments[-1])
        self._waiting.append((verb, arguments))

    def _play_waiting(self) -> None:
        """Play what waited for the open call to end, each waiting call with all that is known of its arguments."""
        waiting, self._waiting = self._waiting, []
        arguments: dict[int, list[str]] = {}
        done = set()
        rest = []
        for verb, told in waiting:
            if verb == "arguments":
                arguments.setdefault(told[0], []).append(told[1])
            elif verb == "call_done":
                done.add(told[0])
            else:
                rest.append((verb, told))
        # They were counted when they came.
        self._saw = _nothing_seen
        for verb, told in rest:
            getattr(self, verb)(*told)
            if verb == "tool_call":
                self.arguments(told[0], "".join(arguments.get(told[0], ())))
                if told[0] in done:
                    self.call_done(told[0])
        self._saw = self._meter.saw

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        self.frames.append(_frame(kind, fields))


# Whole answers.


def write_answer(collected: Collected, reply: Reply, usage: Usage) -> dict[str, Any]:
    """Return a gathered answer as a message."""
    choice = collected.choices[0]
    answer_id = message_id(collected.answer_id, reply)
    content: list[dict[str, Any]] = []
    seals = Seals(reply)
    refused = ""
    for position, part in enumerate(choice.parts):
        following = choice.parts[position + 1] if position + 1 < len(choice.parts) else None
        if isinstance(part, Refusal):
            refused += part.text
        content.append(_block(part, following, reply, seals))
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content or [{"type": "text", "text": ""}],
        **_ending(
            choice.reason,
            choice.stop_sequence,
            choice.detail,
            refused,
            has_calls=bool(choice.calls),
        ),
        "usage": write_usage(usage),
    }


def _block(part: Part, following: Part | None, reply: Reply, seals: Seals) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text}
        case Thinking():
            seal = part.signature
            if not seal and isinstance(following, Call):
                # Gemini seals the call; the thinking before it is where a client of this dialect keeps it.
                seal = following.signature
            if seal.startswith(PREFIX) and not part.text:
                return _block(Redacted(seal), None, reply, seals)
            seals.thought(part.text)
            seals.sealed(seal)
            return {"type": "thinking", "thinking": part.text, "signature": seal or NONE}
        case Redacted():
            seals.keep(part)
            return {"type": "redacted_thinking", "data": part.data}
        case Call():
            call_id = part.id or f"toolu_{reply.mint()}"
            seals.called(call_id, part.name, part.signature)
            seals.remember()
            return {
                "type": "tool_use",
                "id": call_id,
                "name": part.name,
                "input": tool_input(part.arguments),
            }
        case Image():
            return {"type": "text", "text": picture(part.mime or "", part.data or "")}
        case _:
            raise TypeError(f"{type(part).__name__} cannot be part of an answer")


def message_id(answer_id: str, reply: Reply) -> str:
    """Return the upstream's id of an answer as one of this dialect, or a fresh one."""
    for prefix in _ID_PREFIXES:
        answer_id = answer_id.removeprefix(prefix)
    return f"msg_{answer_id or reply.mint()}"


def picture(mime: str, data: str) -> str:
    """Return an image as Markdown with its data inside."""
    return f"![image](data:{mime};base64,{data})"


def _ending(
    reason: StopReason,
    stop_sequence: str | None,
    detail: str | None,
    refused: str,
    *,
    has_calls: bool,
) -> dict[str, Any]:
    """Return ``stop_reason`` and what belongs to it; a refusal in words is one whatever the upstream called the end."""
    if refused:
        reason = StopReason.FILTER
    elif reason is StopReason.STOP and has_calls:
        # Some servers say a plain stop although tools are called, and clients would not run them.
        reason = StopReason.TOOL_CALLS
    ending: dict[str, Any] = {
        "stop_reason": STOP_REASONS[reason],
        "stop_sequence": stop_sequence if reason is StopReason.STOP_SEQUENCE else None,
    }
    if reason is StopReason.FILTER:
        ending["stop_details"] = {
            "type": "refusal",
            "category": None,
            "explanation": detail or refused or None,
        }
    return ending


# Usage and errors.


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage of a whole answer; here the cached tokens stand beside ``input_tokens``, not in them."""
    return {
        "input_tokens": usage.input,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_writes,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def _told_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage of a stream: what is zero is left out, except the two counts that SDKs rely on."""
    told = write_usage(usage)
    details = told.pop("output_tokens_details")
    told = {
        key: value
        for key, value in told.items()
        if value or key in ("input_tokens", "output_tokens")
    }
    return told if not usage.reasoning else {**told, "output_tokens_details": details}


def write_error(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {
        "type": "error",
        "error": {"type": error.row.messages_type, "message": _message(error)},
        "request_id": request_id,
    }


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream which has begun."""
    return b"event: error\ndata: " + orjson.dumps(write_error(error, request_id)) + b"\n\n"


def _message(error: GatewayError) -> str:
    """Return what is said; this dialect has no field for the place of a mistake, so it stands in front."""
    message = error.message
    if error.kind is Kind.CONTEXT:
        # Clients look for these words to shorten the conversation.
        return message if message.startswith(_TOO_LONG.rstrip(": ")) else _TOO_LONG + message
    place = own_param(error)
    if place is None or place in message or error.row.status != 400:
        return message
    return f"{place}: {message}"


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def _nothing_seen(delta: str) -> None:
    """Stand in for the meter."""


def _is_whole(fragments: list[str]) -> bool:
    """Tell whether the arguments of a call are complete: a whole JSON document, and not nothing."""
    try:
        orjson.loads("".join(fragments))
    except orjson.JSONDecodeError:
        return False
    return True


_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
_SHAPES: dict[int, tuple[dict[str, Any], bytes]] = {
    _NOTHING: ({}, b""),
    _TEXT: ({"type": "text", "text": ""}, b'{"type":"text_delta","text":'),
    _THINKING: (
        {"type": "thinking", "thinking": "", "signature": ""},
        b'{"type":"thinking_delta","thinking":',
    ),
    _CALL: ({}, b'{"type":"input_json_delta","partial_json":'),
}
"""For each kind of block: how it starts empty, and how its deltas do."""
