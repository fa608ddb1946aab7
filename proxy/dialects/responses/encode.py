"""A model's turn as Responses events.

Rules that hold here:

1. One item is open at a time; items are numbered in the order in which they open, and keep their ids.
2. Each item is announced, said and finished, in this order, before the next; all are finished before the last event.
3. ``sequence_number`` counts every event from 0.
4. The calls of a turn may start and grow side by side: what is not the open one's waits until the open one is done.

OpenAI's own client library holds a stream to the first three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proxy.dialects.conversation import Call, Redacted, Thinking
from proxy.dialects.reply import Meter, Reply, Sealed
from proxy.dialects.responses.read import ECHO_DEFAULTS
from proxy.dialects.responses.shapes import (
    part_of,
    sealed,
    summary_of,
    told_error,
    write_usage,
)
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage

HEARTBEAT: bytes | None = b": keep-alive\n\n"

_ID_PREFIXES = ("msg_", "chatcmpl-", "resp_")
_INCOMPLETE: Mapping[StopReason, str] = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTEXT: "max_output_tokens",
    StopReason.PAUSE: "max_output_tokens",
    StopReason.FILTER: "content_filter",
}
_NO_CALL = -1


class _Call:
    """A tool call: open, or waiting with what it has said so far in ``deltas``."""

    __slots__ = ("custom", "deltas", "done", "index", "item", "signature")

    def __init__(self, index: int, item: dict[str, Any], signature: str) -> None:
        self.index = index
        self.item = item
        self.custom = item["type"] == "custom_tool_call"
        self.signature = signature
        self.deltas: list[str] = []
        self.done = False


class Encoder:
    """Renders a turn as the events of a stream. ``response`` is the final object, once there is one."""

    def __init__(self, reply: Reply, meter: Meter) -> None:
        self.frames: list[bytes] = []
        self.committed = False
        self.ended = False
        self.error: GatewayError | None = None
        self.response: dict[str, Any] | None = None
        self._reply = reply
        self._meter = meter
        self.answer_id = ""
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        # What is open: a part's kind ("" for none), the item it is in, and the bytes around each of its deltas.
        self._kind = ""
        self._item: dict[str, Any] = {}
        self._before = b""
        self._deltas: list[str] = []
        self._call: _Call | None = None
        self._call_index = _NO_CALL
        self._waiting: dict[int, _Call] = {}
        self._muted = False
        self._refused = False
        self._seals: list[Sealed] | None = [] if reply.remember is not None else None

    # Verbs. The first four run once a token.

    def text(self, delta: str) -> None:
        if not delta or self._muted:
            return
        if self._kind != "output_text":
            self._open_part("output_text")
        self._say(delta)

    def thinking(self, delta: str) -> None:
        if not delta or self._muted:
            return
        if self._kind != "reasoning":
            self._open_reasoning()
        self._say(delta)

    def refusal(self, delta: str) -> None:
        if not delta or self._muted:
            return
        if self._kind != "refusal":
            self._open_part("refusal")
        self._refused = True
        self._say(delta)

    def arguments(self, index: int, delta: str) -> None:
        if not delta or self._muted:
            return
        if index == self._call_index:
            self._say(delta)
        elif index in self._waiting:
            self._waiting[index].deltas.append(delta)

    def begin(self, model: str, answer_id: str) -> None:  # noqa: ARG002  # the client is told the name that it used
        if self.answer_id:
            return
        for prefix in _ID_PREFIXES:
            answer_id = answer_id.removeprefix(prefix)
        self.answer_id = f"resp_{answer_id or self._reply.mint()}"
        response = self._response("in_progress")
        self._emit("response.created", {"response": response})
        self._emit("response.in_progress", {"response": response})

    def choice(self, index: int) -> None:
        """Leave out all alternative answers but the first: this dialect has one."""
        self._muted = index != 0

    def signature(self, opaque: str) -> None:
        if self._muted:
            return
        self._remember(self._seal(opaque))

    def redacted(self, opaque: str) -> None:
        if not self._muted:
            part = Redacted(opaque)
            self._add_sealed(part)
            self._remember(part)

    def image(self, mime: str, data: str) -> None:
        if self._muted:
            return
        self._close()
        item = {
            "id": self._new_id("ig_"),
            "type": "image_generation_call",
            "status": "in_progress",
            "result": None,
        }
        self._announce(item)
        self._finish_item(
            {
                **item,
                "status": "completed",
                "result": data,
                "output_format": mime.rpartition("/")[2],
            }
        )

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        if self._muted:
            return
        custom = name in self._reply.custom_tools
        namespace, name = self._reply.namespaces.get(name, (None, name))
        spaced = {} if namespace is None else {"namespace": namespace}
        called = {"call_id": call_id or f"call_{self._reply.mint()}", "name": name, **spaced}
        item: dict[str, Any]
        if custom:
            item = {"id": "", "type": "custom_tool_call", **called, "input": ""}
        else:
            item = {
                "id": "",
                "type": "function_call",
                "status": "in_progress",
                **called,
                "arguments": "",
            }
        call = _Call(index, item, signature)
        if self._call is None:
            self._open_call(call)
        else:
            self._waiting[index] = call

    def call_done(self, index: int) -> None:
        if self._muted:
            return
        if index == self._call_index:
            self._close_call("completed")
            self._open_waiting()
        elif index in self._waiting:
            self._waiting[index].done = True

    def usage(self, usage: Usage) -> None:
        self._meter.reported = usage

    def end(
        self,
        reason: StopReason,
        stop_sequence: str | None = None,  # noqa: ARG002  # not told in this dialect
        detail: str | None = None,
    ) -> None:
        self._muted = False
        if reason is StopReason.BROKEN and not self.committed:
            self.fail(GatewayError(Kind.MALFORMED))
            return
        self.begin("", "")
        if reason is StopReason.FILTER and detail and not self._refused:
            self.refusal(detail)
        told = _INCOMPLETE.get(reason)
        status = "completed" if told is None else "incomplete"
        self._close(status)
        usage = self._meter.usage(self._reply.estimate_input)
        self.response = self._response(
            status,
            usage=write_usage(usage),
            incomplete_details=None if told is None else {"reason": told},
        )
        self._emit(f"response.{status}", {"response": self.response})
        self.committed = self.ended = True

    def fail(self, error: GatewayError) -> None:
        self.frames.append(self.error_frame(error, self._reply.request_id))
        self.error = error
        self.ended = True

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002  # it is in the headers
        """Return the event that ends the stream with ``error``, after the first events if they have not gone yet."""
        pending, self.frames = self.frames, []
        self.begin("", "")
        reported = self._meter.reported
        response = self._response(
            "failed",
            error=told_error(error),
            usage=None if reported is None else write_usage(reported),
        )
        self._emit("response.failed", {"response": response})
        frame, self.frames = b"".join(self.frames), pending
        return frame

    # Messages: text and refusals are parts of them.

    def _open_part(self, kind: str) -> None:
        """Open a part of the open message, or of a new one."""
        if self._item.get("type") == "message":
            self._close_part()
        else:
            self._close()
            self._announce(
                {
                    "id": self._new_id("msg_"),
                    "type": "message",
                    "role": "assistant",
                    "status": "in_progress",
                    "content": [],
                }
            )
        self._kind = kind
        place = self._place()
        self._emit("response.content_part.added", {**place, "part": part_of(kind, "")})
        if kind == "output_text":
            place["logprobs"] = []
        self._prepare(f"response.{kind}.delta", place)

    def _close_part(self) -> None:
        kind, text = self._kind, self._said()
        part = part_of(kind, text)
        done = {"text": text, "logprobs": []} if kind == "output_text" else {"refusal": text}
        self._emit(f"response.{kind}.done", {**self._place(), **done})
        self._emit("response.content_part.done", {**self._place(), "part": part})
        self._item["content"].append(part)

    def _place(self) -> dict[str, Any]:
        """Return where the open part is."""
        return {
            "item_id": self._item["id"],
            "output_index": len(self._output),
            "content_index": len(self._item["content"]),
        }

    # Reasoning.

    def _open_reasoning(self) -> None:
        self._close()
        self._announce({"id": self._new_id("rs_"), "type": "reasoning", "summary": []})
        self._kind = "reasoning"
        summary = {
            "item_id": self._item["id"],
            "output_index": len(self._output),
            "summary_index": 0,
        }
        self._emit("response.reasoning_summary_part.added", {**summary, "part": summary_of("")})
        self._prepare("response.reasoning_summary_text.delta", summary)

    def _seal(self, opaque: str) -> Thinking:
        """Put a seal on the open reasoning, or on an item of its own; return what was sealed."""
        if self._kind == "reasoning":
            return self._close_reasoning(opaque)
        thinking = Thinking("", opaque)
        self._add_sealed(thinking)
        return thinking

    def _close_reasoning(self, opaque: str) -> Thinking:
        text = self._said()
        summary = {
            "item_id": self._item["id"],
            "output_index": len(self._output),
            "summary_index": 0,
        }
        self._emit("response.reasoning_summary_text.done", {**summary, "text": text})
        self._emit("response.reasoning_summary_part.done", {**summary, "part": summary_of(text)})
        thinking = Thinking(text, opaque)
        self._finish_item({**self._item, "summary": [summary_of(text)], **sealed(thinking)})
        return thinking

    def _add_sealed(self, part: Thinking | Redacted) -> None:
        """Add a reasoning item that says nothing and holds a seal."""
        self._close()
        self._announce({"id": self._new_id("rs_"), "type": "reasoning", "summary": []})
        self._finish_item({**self._item, **sealed(part)})

    # Tool calls.

    def _open_call(self, call: _Call) -> None:
        """Open a call. A seal on it, for which calls have no field here, goes with the reasoning in front of it."""
        if call.signature:
            self._seal(call.signature)
            self._remember(Call(call.item["call_id"], call.item["name"], "", call.signature))
        self._close()
        self._call, self._call_index = call, call.index
        call.item["id"] = self._new_id("ctc_" if call.custom else "fc_")
        self._announce(call.item)
        self._kind = "call"
        self._prepare(
            f"response.{_ARGUMENTS[call.custom]}.delta",
            {"item_id": call.item["id"], "output_index": len(self._output)},
        )
        if call.deltas:
            self._say("".join(call.deltas))

    def _close_call(self, status: str) -> None:
        call = self._call
        assert call is not None
        said, item = self._said(), call.item
        if not said and not call.custom and status == "completed":
            # What a call without arguments says must parse.
            self._say("{}")
            said = self._said()
        place = {"item_id": item["id"], "output_index": len(self._output)}
        self._call, self._call_index = None, _NO_CALL
        if call.custom:
            self._emit(f"response.{_ARGUMENTS[True]}.done", {**place, "input": said})
            finished = {**item, "input": said}
        else:
            done = {**place, "name": item["name"], "arguments": said}
            self._emit(f"response.{_ARGUMENTS[False]}.done", done)
            finished = {**item, "status": status, "arguments": said}
        if self._seals is not None and self._reply.remember is not None:
            if self._seals:
                self._reply.remember(item["call_id"], tuple(self._seals))
            self._seals = None
        self._finish_item(finished)

    def _open_waiting(self) -> None:
        """Open the call that waits longest, and those behind it as long as they are whole."""
        while self._waiting and self._call is None:
            call = self._waiting.pop(next(iter(self._waiting)))
            self._open_call(call)
            if call.done:
                self._close_call("completed")

    # Items and events.

    def _say(self, delta: str) -> None:
        """Render a delta of the open part; runs once a token."""
        self._meter.saw(delta)
        self._deltas.append(delta)
        self.frames.append(
            b'%b%b,"sequence_number":%d}\n\n' % (self._before, orjson.dumps(delta), self._sequence)
        )
        self._sequence += 1

    def _prepare(self, kind: str, fields: dict[str, Any]) -> None:
        """Get ready for deltas of ``kind``: what stands in front of each is rendered once."""
        document = orjson.dumps({"type": kind, **fields})
        self._before = b'event: %b\ndata: %b,"delta":' % (kind.encode(), document[:-1])

    def _said(self) -> str:
        """Return what the open part has said, and forget it."""
        said = "".join(self._deltas)
        self._deltas = []
        return said

    def _close(self, status: str = "completed") -> None:
        """Finish what is open; calls that wait behind an open one are rendered whole.

        ``status`` is "incomplete" where the answer was cut, which is told of the item that it was cut in.
        """
        if self._kind == "reasoning":
            self._close_reasoning("")
        elif self._kind == "call":
            last = not self._waiting
            self._close_call(status if last else "completed")
            while self._waiting:
                self._open_waiting()
                if self._call is not None:
                    self._close_call("completed" if self._waiting else status)
        elif self._kind:
            self._close_part()
            self._finish_item({**self._item, "status": status})

    def _announce(self, item: dict[str, Any]) -> None:
        self.committed = True
        self._item = item
        self._emit("response.output_item.added", {"output_index": len(self._output), "item": item})

    def _finish_item(self, item: dict[str, Any]) -> None:
        self._emit("response.output_item.done", {"output_index": len(self._output), "item": item})
        self._output.append(item)
        self._item = {}
        self._kind = ""

    def _remember(self, part: Sealed) -> None:
        if self._seals is not None:
            self._seals.append(part)

    def _new_id(self, prefix: str) -> str:
        return prefix + self._reply.mint()

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        document = orjson.dumps({"type": kind, "sequence_number": self._sequence, **fields})
        self.frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), document))
        self._sequence += 1

    def _response(self, status: str, **said: Any) -> dict[str, Any]:
        return {
            "id": self.answer_id,
            "object": "response",
            "created_at": self._reply.created,
            "status": status,
            "model": self._reply.model,
            "output": list(self._output),
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            **ECHO_DEFAULTS,
            **self._reply.echo,
            "tools": [],
            "store": False,
            "usage": None,
            **said,
        }


_ARGUMENTS = {False: "function_call_arguments", True: "custom_tool_call_input"}


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the event that ends a stream of which nothing has gone out but heartbeats."""
    reply = Reply(
        model="", created=0, request_id=request_id, mint=lambda: request_id.removeprefix("req_")
    )
    return Encoder(reply, Meter()).error_frame(error, request_id)
