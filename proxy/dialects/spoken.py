"""The dialects that clients and upstreams speak, and what each is read and written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from proxy.dialects.chat import decode as chat_decode
from proxy.dialects.chat import encode as chat_encode
from proxy.dialects.chat import read as chat_read
from proxy.dialects.chat import write as chat_write
from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Conversation
from proxy.dialects.gemini import decode as gemini_decode
from proxy.dialects.gemini import encode as gemini_encode
from proxy.dialects.gemini import read as gemini_read
from proxy.dialects.gemini import write as gemini_write
from proxy.dialects.messages import decode as messages_decode
from proxy.dialects.messages import encode as messages_encode
from proxy.dialects.messages import read as messages_read
from proxy.dialects.messages import write as messages_write
from proxy.dialects.reply import Encoder, Meter, Reply, Upstream, Written
from proxy.dialects.responses import decode as responses_decode
from proxy.dialects.responses import encode as responses_encode
from proxy.dialects.responses import read as responses_read
from proxy.dialects.responses import whole as responses_whole
from proxy.dialects.responses import write as responses_write
from proxy.dialects.turn import Decoder, Turn
from proxy.providers import Dialect, Flags
from proxy.usage import Usage

ClientDialect = Literal["chat", "messages", "responses", "gemini"]


@dataclass(frozen=True, slots=True)
class Client:
    """A dialect that clients speak."""

    native: Dialect
    read_request: Callable[[dict[str, Any]], Conversation]
    encoder: Callable[[Reply, Meter], Encoder]
    write_answer: Callable[[Collected, Reply, Usage], dict[str, Any]]
    heartbeat: bytes | None
    turns: str
    """The field that holds the conversation."""
    limits: tuple[str, ...] = ("max_tokens",)
    """The fields that limit the output; the first is set where a limit has to be."""


@dataclass(frozen=True, slots=True)
class Server:
    """A dialect that upstreams speak."""

    write_request: Callable[[Conversation, Upstream], Written]
    decoder: Callable[[Turn, Flags], Decoder]


CLIENTS: Mapping[ClientDialect, Client] = {
    "chat": Client(
        "openai-chat",
        chat_read.read_request,
        chat_encode.Encoder,
        chat_encode.write_answer,
        chat_encode.HEARTBEAT,
        "messages",
        ("max_tokens", "max_completion_tokens"),
    ),
    "messages": Client(
        "anthropic",
        messages_read.read_request,
        messages_encode.Encoder,
        messages_encode.write_answer,
        messages_encode.HEARTBEAT,
        "messages",
    ),
    "responses": Client(
        "openai-responses",
        responses_read.read_request,
        responses_encode.Encoder,
        responses_whole.write_answer,
        responses_encode.HEARTBEAT,
        "input",
        ("max_output_tokens",),
    ),
    "gemini": Client(
        "gemini",
        gemini_read.read_request,
        gemini_encode.Encoder,
        gemini_encode.write_answer,
        gemini_encode.HEARTBEAT,
        "contents",
    ),
}

SERVERS: Mapping[Dialect, Server] = {
    "openai-chat": Server(chat_write.write_request, chat_decode.Decoder),
    "openai-responses": Server(responses_write.write_request, responses_decode.Decoder),
    "anthropic": Server(messages_write.write_request, messages_decode.Decoder),
    "gemini": Server(gemini_write.write_request, gemini_decode.Decoder),
}
