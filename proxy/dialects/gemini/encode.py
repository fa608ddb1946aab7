"""An answer in Gemini's dialect: chunks as the verbs come, or one document.

Google's SDKs stop at anything in a stream that is no ``data:`` line with a chunk: no comments, no event
names, no end marker. They do not join fragments of arguments, so a call is held until it is whole. The
last chunk must have a finish reason, and Gemini CLI takes an answer without any text for a broken one.
"""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects import envelope
from proxy.dialects.collected import Choice, Collected
from proxy.dialects.conversation import Call, Image, Redacted, Refusal, Text, Thinking
from proxy.dialects.depth import loads
from proxy.dialects.gemini.reasons import FINISH_REASONS
from proxy.dialects.gemini.seal import write_seal
from proxy.dialects.gemini.usage import write_usage
from proxy.dialects.refusal import own_param
from proxy.dialects.reply import Meter, Reply, Sealed
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError
from proxy.usage import Usage

__all__ = ["HEARTBEAT", "Encoder", "error_frame", "write_answer", "write_error", "write_usage"]

HEARTBEAT: bytes | None = None
"""Nothing may stand between two chunks."""

Json = dict[str, Any]

_PREFIXES = ("chatcmpl-", "msg_", "resp_")
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_TOO_MANY = 429


class Encoder:
    """See ``proxy.dialects.reply.Encoder``.

    Seals of another provider travel on the call that came after them, since clients echo calls whole
    and drop thoughts.
    """

    def __init__(self, reply: Reply, meter: Meter) -> None:
        self.frames: list[bytes] = []
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self._reply = reply
        self._meter = meter
        self.answer_id = ""
        self._identity = b""
        self._fresh = True
        self._spoke = False
        self._refused = False
        self._thoughts: list[str] = []
        self._blocks: list[Thinking | Redacted] = []
        self._sealed: list[Sealed] = []
        self._calls: dict[int, tuple[Call, list[str]]] = {}
        self._first_call = ""
        if reply.array:
            self._frame(b"[", b"")
        else:
            self._frame(b"data: ", b"\n\n")

    def begin(self, model: str, answer_id: str) -> None:  # noqa: ARG002 - the client's name is told
        self.answer_id = _answer_id(answer_id, self._reply)
        self._identity = b',"modelVersion":%b,"responseId":%b}' % (
            orjson.dumps(self._reply.model),
            orjson.dumps(self.answer_id),
        )
        self._prepare()

    def choice(self, index: int) -> None:
        """Nothing to do: a stream holds one answer."""

    # Content. Hot path: ``text`` and ``thinking`` once a token.

    def text(self, delta: str) -> None:
        if delta:
            self.frames.append(self._text + orjson.dumps(delta) + self._text_end)
            self._meter.saw(delta)
            if not self._spoke:
                self._speak()

    def thinking(self, delta: str) -> None:
        if delta:
            self.frames.append(self._text + orjson.dumps(delta) + self._thought_end)
            self._meter.saw(delta)
            self._thoughts.append(delta)
            if self._fresh:
                self._start()

    def signature(self, opaque: str) -> None:
        self._keep(Thinking("".join(self._thoughts), opaque))
        self._thoughts.clear()

    def redacted(self, opaque: str) -> None:
        self._keep(Redacted(opaque))
        self.committed = True

    def refusal(self, delta: str) -> None:
        self._refused = True
        self.text(delta)

    def image(self, mime: str, data: str) -> None:
        self._part({"inlineData": {"mimeType": mime, "data": data}})

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        call = Call(call_id or f"call_{self._reply.mint()}", name, "", signature)
        self._first_call = self._first_call or call.id
        self._calls[index] = (call, [])
        self._thoughts.clear()
        self.committed = True
        if signature:
            self._sealed.append(call)

    def arguments(self, index: int, delta: str) -> None:
        self._calls[index][1].append(delta)
        self._meter.saw(delta)

    def call_done(self, index: int) -> None:
        held = self._calls.pop(index, None)
        if held is None:
            return
        call, deltas = held
        call.arguments = "".join(deltas)
        part = _call_part(call, self._blocks)
        self._blocks = []
        self._part(part)

    # The end.

    def usage(self, usage: Usage) -> None:
        self._meter.reported = usage

    def end(
        self,
        reason: StopReason,
        stop_sequence: str | None = None,  # noqa: ARG002 - this dialect does not tell it
        detail: str | None = None,
    ) -> None:
        for index in sorted(self._calls):
            self.call_done(index)
        if self._reply.remember is not None and self._first_call and self._sealed:
            self._reply.remember(self._first_call, tuple(self._sealed))
        candidate: Json = {
            "content": {"role": "model", "parts": [{"text": "" if self._spoke else " "}]},
            **_finish(reason, detail, refused=self._refused),
            "index": 0,
        }
        usage = write_usage(self._meter.usage(self._reply.estimate_input))
        self.frames.append(
            self._open
            + b'{"candidates":['
            + orjson.dumps(candidate)
            + b'],"usageMetadata":'
            + orjson.dumps(usage)
            + self._identity
            + self._close
        )
        self._ended()

    def fail(self, error: GatewayError) -> None:
        self.error = error
        body = orjson.dumps(write_error(error, self._reply.request_id))
        self.frames.append(self._open + body + self._close)
        self._ended()

    def _ended(self) -> None:
        self.ended = self.committed = True
        if self._reply.array:
            self.frames.append(b"]")

    # Frames.

    def _frame(self, before: bytes, after: bytes) -> None:
        self._open, self._close = before, after
        self._prepare()

    def _prepare(self) -> None:
        """Make the bytes around a delta, once for all of them."""
        tail = b'}]},"index":0}]' + self._identity + self._close
        self._content = self._open + b'{"candidates":[{"content":{"role":"model","parts":['
        self._text = self._content + b'{"text":'
        self._text_end = tail
        self._thought_end = b',"thought":true' + tail

    def _speak(self) -> None:
        self._spoke = True
        if self._fresh:
            self._start()

    def _start(self) -> None:
        """Note that the first chunk has been made: an array goes on with a comma."""
        self._fresh = False
        self.committed = True
        if self._reply.array:
            self._frame(b"\n,", b"")

    def _part(self, part: Json) -> None:
        # The template ends the part's own object.
        self.frames.append(self._content + orjson.dumps(part)[:-1] + self._text_end)
        self._speak()

    def _keep(self, block: Thinking | Redacted) -> None:
        self._blocks.append(block)
        if not self._first_call:
            self._sealed.append(block)


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream of server-sent events with ``error``."""
    return b"data: %b\n\n" % orjson.dumps(write_error(error, request_id))


def write_error(error: GatewayError, request_id: str) -> Json:  # noqa: ARG001 - as in every dialect
    """Return the body of an error; Google's own tells in details how long to wait, and which field is wrong."""
    details: list[Json] = []
    if error.retry_after is not None and error.row.status == _TOO_MANY:
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{error.retry_after}s"})
    place = own_param(error)
    if place is not None and error.row.gemini_status == "INVALID_ARGUMENT":
        violation = {"field": place, "description": error.message}
        details.append({"@type": _BAD_REQUEST, "fieldViolations": [violation]})
    return {
        "error": {
            "code": error.row.status,
            "message": error.message,
            "status": error.row.gemini_status,
            "details": details,
        }
    }


# Whole answers.


def write_answer(collected: Collected, reply: Reply, usage: Usage) -> Json:
    """Return the document that answers an unstreamed call."""
    return {
        "candidates": [
            _candidate(choice, index, reply) for index, choice in enumerate(collected.choices)
        ],
        "usageMetadata": write_usage(usage),
        "modelVersion": reply.model,
        "responseId": _answer_id(collected.answer_id, reply),
    }


def _candidate(choice: Choice, index: int, reply: Reply) -> Json:
    parts: list[Json] = []
    blocks: list[Thinking | Redacted] = []
    sealed: list[Sealed] = []
    first_call = ""
    for part in choice.parts:
        match part:
            case Text() | Refusal():
                parts.append({"text": part.text})
            case Thinking():
                if part.text:
                    parts.append({"text": part.text, "thought": True})
                if part.signature:
                    blocks.append(part)
            case Redacted():
                blocks.append(part)
            case Image():
                parts.append({"inlineData": {"mimeType": part.mime, "data": part.data}})
            case Call():
                part.id = part.id or f"call_{reply.mint()}"
                if not first_call:
                    first_call = part.id
                    sealed += blocks
                if part.signature:
                    sealed.append(part)
                parts.append(orjson.loads(orjson.dumps(_call_part(part, blocks))))
                blocks = []
            case _:
                pass
    if reply.remember is not None and first_call and sealed:
        reply.remember(first_call, tuple(sealed))
    if all("thought" in part for part in parts):
        parts.append({"text": " "})
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    return {
        "content": {"role": "model", "parts": parts},
        **_finish(choice.reason, choice.detail, refused=refused),
        "index": index,
    }


# Both.


def _answer_id(answer_id: str, reply: Reply) -> str:
    for prefix in _PREFIXES:
        answer_id = answer_id.removeprefix(prefix)
    return answer_id or reply.mint()


def _finish(reason: StopReason, detail: str | None, *, refused: bool) -> Json:
    if refused and FINISH_REASONS[reason] == "STOP":
        reason = StopReason.FILTER
    told: Json = {"finishReason": FINISH_REASONS[reason]}
    if detail and reason in {StopReason.FILTER, StopReason.BROKEN}:
        told["finishMessage"] = detail
    return told


def _call_part(call: Call, blocks: list[Thinking | Redacted]) -> Json:
    """Return the part of a whole call. ``blocks`` are the seals that came since the call before."""
    part: Json = {"functionCall": {"id": call.id, "name": call.name, "args": _args(call.arguments)}}
    if call.signature:
        part["thoughtSignature"] = write_seal(call.signature)
    elif blocks:
        part["thoughtSignature"] = write_seal(envelope.wrap_blocks(blocks))
    return part


def _args(arguments: str) -> Json | orjson.Fragment:
    """Return the arguments as they came, except for line ends; broken ones as a string that says so."""
    if not arguments.strip():
        return {}
    try:
        args = loads(arguments)
    except orjson.JSONDecodeError:
        args = None
    if not isinstance(args, dict):
        return {"_raw_arguments": arguments}
    # A line end inside JSON is only ever white space, but it would break the frame. The text is kept
    # since parsing loses digits of large numbers.
    return orjson.Fragment(arguments.replace("\r", " ").replace("\n", " "))
