"""The project's dialects under the names that the cases have for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from proxy.dialects.answer import Translation, Whole
from proxy.dialects.chat import decode as chat_decode
from proxy.dialects.chat import encode as chat_encode
from proxy.dialects.chat import read as chat_read
from proxy.dialects.chat import shapes as chat_shapes
from proxy.dialects.chat import write as chat_write
from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Conversation
from proxy.dialects.gemini import decode as gemini_decode
from proxy.dialects.gemini import encode as gemini_encode
from proxy.dialects.gemini import read as gemini_read
from proxy.dialects.gemini import usage as gemini_usage
from proxy.dialects.gemini import write as gemini_write
from proxy.dialects.messages import decode as messages_decode
from proxy.dialects.messages import encode as messages_encode
from proxy.dialects.messages import read as messages_read
from proxy.dialects.messages import write as messages_write
from proxy.dialects.names import Names
from proxy.dialects.reply import Encoder, Meter, Reply, Upstream, Written
from proxy.dialects.responses import decode as responses_decode
from proxy.dialects.responses import encode as responses_encode
from proxy.dialects.responses import read as responses_read
from proxy.dialects.responses import shapes as responses_shapes
from proxy.dialects.responses import whole as responses_whole
from proxy.dialects.responses import write as responses_write
from proxy.dialects.restored import Restored
from proxy.dialects.turn import Decoder, Turn
from proxy.errors import GatewayError
from proxy.providers import ALIASES, BUILTIN, Dialect, Flags, Provider
from proxy.usage import Usage

Json = dict[str, Any]

NATIVE: dict[str, Dialect] = {
    "chat": "openai-chat",
    "openai": "openai-chat",
    "openai-chat": "openai-chat",
    "messages": "anthropic",
    "anthropic": "anthropic",
    "responses": "openai-responses",
    "openai-responses": "openai-responses",
    "gemini": "gemini",
}
"""A case's word for a dialect, whichever side it is on, and ours."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Everything that is done in one dialect."""

    read_request: Callable[[Json, Json], Conversation]
    turns: str
    write_request: Callable[[Conversation, Upstream], Written]
    decoder: Callable[[Turn, Flags], Decoder]
    read_usage: Callable[[object, Flags], Usage]
    encoder: Callable[[Reply, Meter], Encoder]
    write_answer: Callable[[Collected, Reply, Usage], Json]
    write_usage: Callable[[Usage], Json]
    write_error: Callable[[GatewayError, str], Json]


def _read_gemini(body: Json, context: Json) -> Conversation:
    conversation = gemini_read.read_request(body)
    # Its clients say it in the path.
    conversation.stream = bool(context.get("stream"))
    return conversation


SPOKEN: dict[Dialect, Spoken] = {
    "openai-chat": Spoken(
        lambda body, context: chat_read.read_request(body),
        "messages",
        chat_write.write_request,
        chat_decode.Decoder,
        chat_decode.read_usage,
        chat_encode.Encoder,
        chat_encode.write_answer,
        chat_shapes.write_usage,
        chat_shapes.write_error,
    ),
    "anthropic": Spoken(
        lambda body, context: messages_read.read_request(body),
        "messages",
        messages_write.write_request,
        messages_decode.Decoder,
        messages_decode.read_usage,
        messages_encode.Encoder,
        messages_encode.write_answer,
        messages_encode.write_usage,
        messages_encode.write_error,
    ),
    "openai-responses": Spoken(
        lambda body, context: responses_read.read_request(body),
        "input",
        responses_write.write_request,
        responses_decode.Decoder,
        responses_decode.read_usage,
        responses_encode.Encoder,
        responses_whole.write_answer,
        responses_shapes.write_usage,
        chat_shapes.write_error,
    ),
    "gemini": Spoken(
        _read_gemini,
        "contents",
        gemini_write.write_request,
        gemini_decode.Decoder,
        gemini_usage.read_usage,
        gemini_encode.Encoder,
        gemini_encode.write_answer,
        gemini_encode.write_usage,
        gemini_encode.write_error,
    ),
}


def provider_of(account: Json | None, dialects: tuple[Dialect, ...] = ("openai-chat",)) -> Provider:
    """Return the provider that an ``account`` of a case is: a built-in row by its kind, with the case's own flags."""
    given = dict(account or {})
    kind = given.pop("kind", "compat")
    row = BUILTIN.get(ALIASES.get(kind, kind))
    if row is None:
        row = Provider(name=kind, base_url="http://127.0.0.1", dialects=dialects, auth="bearer")
    known = {field.name for field in fields(Flags)}
    told = {**given.pop("flags", {}), **given}
    assert told.keys() <= known, f"flags that no provider has: {sorted(told.keys() - known)}"
    return replace(row, flags=replace(row.flags, **told))


def flags_of(account: Json | None) -> Flags:
    """Return the flags of a case's account; a case without one means a provider like the dialect's reference."""
    return provider_of(account).flags


class ToldMeter(Meter):
    """A meter whose estimate is the case's, where the case states one."""

    __slots__ = ("_told",)

    def __init__(self, told: Json | None) -> None:
        super().__init__()
        self._told = told or {}

    def usage(self, estimate_input: Callable[[], int]) -> Usage:
        counted = super().usage(estimate_input)
        if self.reported is not None or "output_tokens" not in self._told:
            return counted
        return counted._replace(output=self._told["output_tokens"])


def reply_of(context: Json) -> Reply:
    """Return what the encoders need to know of the request that a case's answer is for."""
    minted = _minted(context.get("mint") or [])
    estimate = context.get("estimate") or {}
    namespaces = context.get("namespaces") or {}
    return Reply(
        model=context.get("client_model", "m"),
        created=context.get("created", 1_700_000_000),
        request_id="req_test",
        mint=lambda: next(minted),
        include_usage=bool(context.get("include_usage")),
        thinking_blocks=bool(context.get("reasoning_requested")),
        legacy_functions=bool(context.get("legacy_functions")),
        custom_tools=frozenset(context.get("custom_tools") or ()),
        namespaces={
            flat: (pair["namespace"], pair["name"])
            if isinstance(pair, dict)
            else (pair[0], pair[1])
            for flat, pair in namespaces.items()
        },
        estimate_input=lambda: estimate.get("input_tokens", 0),
    )


def translation(upstream: Dialect, client: Dialect, context: Json) -> Translation:
    """Return the stream translator of a case."""
    reply = reply_of(context)
    meter = ToldMeter(context.get("estimate"))
    encoder = SPOKEN[client].encoder(reply, meter)
    turn = _restored(encoder, upstream, context)
    return Translation(
        SPOKEN[upstream].decoder(turn, flags_of(context.get("account"))), encoder, meter, reply
    )


def whole(upstream: Dialect, client: Dialect, context: Json) -> Whole:
    """Return the translator of a case's document."""
    collected = Collected()
    decoder = SPOKEN[upstream].decoder(
        _restored(collected, upstream, context), flags_of(context.get("account"))
    )
    return Whole(decoder, collected, SPOKEN[client].write_answer, reply_of(context), document=True)


def frames(upstream: Dialect, events: list[Any]) -> bytes:
    """Return the bytes of a stream of these payloads as the upstream's kind of server frames them."""
    return b"".join(_frame(upstream, event) for event in events)


def payloads(client: Dialect, out: bytes) -> list[Any]:
    """Return the payloads of a client's stream, having checked how each is framed. Comments are not listed."""
    told: list[Any] = []
    assert b"\r" not in out
    for block in out.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            assert client != "gemini", "a comment breaks Gemini's own client"
            continue
        lines = block.split("\n")
        name = lines.pop(0).removeprefix("event: ") if lines[0].startswith("event: ") else None
        assert len(lines) == 1, f"found {block!r}, expected one data line"
        assert lines[0].startswith("data: "), f"found {block!r}, expected one data line"
        data = lines[0].removeprefix("data: ")
        payload = data if data == "[DONE]" else orjson.loads(data)
        if client in ("anthropic", "openai-responses"):
            assert isinstance(payload, dict)
            assert name == payload["type"]
        else:
            assert name is None
        told.append(payload)
    assert out == b"" or out.endswith(b"\n\n")
    return told


def _frame(upstream: Dialect, event: Any) -> bytes:
    data = event.encode() if isinstance(event, str) else orjson.dumps(event)
    match upstream:
        case "gemini":
            return b"data: %b\r\n\r\n" % data
        case "anthropic" | "openai-responses" if isinstance(event, dict) and isinstance(
            event.get("type"), str
        ):
            return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data)
        case _:
            return b"data: %b\n\n" % data


def _restored(turn: Turn, upstream: Dialect, context: Json) -> Turn:
    custom = frozenset(context.get("custom_tools") or ())
    json_tool = context.get("json_tool")
    if json_tool is True:
        json_tool = "json"
    if not custom and not json_tool:
        return turn
    return Restored(
        turn, Names.of(upstream, custom), json_tool=json_tool or None, custom_tools=custom
    )


def _minted(given: list[str]) -> Iterator[str]:
    yield from given
    number = 0
    while True:
        yield f"{number:024x}"
        number += 1
