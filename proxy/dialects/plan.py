"""How one call reaches one upstream: in which dialect, with which bytes, and how its answer is to be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from proxy.dialects import capabilities, repair
from proxy.dialects.answer import Answer, Made, Translation, Whole, WholeSplice
from proxy.dialects.asked import Asked
from proxy.dialects.chat import decode as chat_decode
from proxy.dialects.chat import native as chat_native
from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Conversation
from proxy.dialects.gemini import native as gemini_native
from proxy.dialects.gemini import write as gemini_write
from proxy.dialects.gemini.splice import GeminiSplice
from proxy.dialects.gemini.usage import document_usage
from proxy.dialects.messages import decode as messages_decode
from proxy.dialects.messages import native as messages_native
from proxy.dialects.messages.splice import MessagesSplice
from proxy.dialects.reply import Meter, Reply, Upstream, Written, reply_facts
from proxy.dialects.responses import decode as responses_decode
from proxy.dialects.responses import native as responses_native
from proxy.dialects.responses import read as responses_read
from proxy.dialects.responses.shapes import kept
from proxy.dialects.responses.splice import ResponsesSplice
from proxy.dialects.restored import Restored
from proxy.dialects.spoken import CLIENTS, SERVERS
from proxy.dialects.turn import Turn
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Flags, Provider
from proxy.usage import Usage

_NATIVE_PATHS: Mapping[Dialect, str] = {
    "openai-chat": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "openai-responses": "/v1/responses",
}


class Passed(Answer, Protocol):
    """An answer whose bytes are passed on, whatever they are. ``form`` says what is looked for in them."""

    form: Literal["document", "events", "bytes"]

    @property
    def is_cut(self) -> bool:
        """Whether a failure can only be told by an answer that has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """What is said at the head of a call that is passed on, and ``answer``, which takes status and headers of the upstream's."""

    content_type: bytes | None
    """Of the body; None: there is none."""
    accept: bytes
    answer: Callable[[int, Mapping[bytes, bytes]], Passed]
    lines: tuple[tuple[bytes, bytes], ...] = ()
    method: str = "POST"
    subject: str | None = None
    """The id of what is asked about, if that is no model: a 404 is about it."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to send, and ``answer``, which takes whether the upstream answers with a document instead of a stream.

    ``path`` starts with the dialect's version prefix. ``dropped`` is what ``x-splice-dropped`` tells.
    """

    dialect: Dialect
    native: bool
    path: str
    body: bytes
    stream: bool
    dropped: frozenset[str]
    answer: Callable[[bool], Answer]
    passing: Passing | None = None
    model: str = ""
    """The upstream's own name of what is asked: some addresses have it in their path."""

    @property
    def method(self) -> str:
        return "POST" if self.passing is None else self.passing.method

    @property
    def subject(self) -> str | None:
        """The id that a 404 is about, if it is not about a model."""
        return None if self.passing is None else self.passing.subject


def pass_on(
    passing: Passing, dialect: Dialect, path: str, body: bytes, *, stream: bool = False
) -> Plan:
    """Return the plan of a call that is ``passing``."""
    return Plan(
        dialect=dialect,
        native=True,
        path=path,
        body=body,
        stream=stream,
        dropped=frozenset(),
        answer=_unasked,
        passing=passing,
    )


def _unasked(_: bool) -> Answer:  # noqa: FBT001 - what a plan's answer is called with
    raise AssertionError("what is passed on is read by what stands at the head of its answer")


def choose_dialect(asked: Asked, provider: Provider, model: str) -> Dialect:
    """Return the dialect in which to call ``model`` of ``provider``: the client's own if offered, else the first listed.

    OpenAI itself takes function tools of a reasoning model on its Responses endpoint only, whoever asks.
    """
    native = CLIENTS[asked.dialect].native
    dialects = provider.dialects
    offered = native if native in dialects else dialects[0]
    if (
        not provider.flags.official
        or "openai-chat" not in dialects
        or "openai-responses" not in dialects
    ):
        return offered
    if offered == native != "openai-chat":
        return native
    conversation = (
        CLIENTS[asked.dialect].read_request(asked.document)
        if _may_need_responses(asked, model)
        else None
    )
    if conversation is not None and capabilities.route_to_responses(
        model,
        capabilities.wanted_effort(conversation.reasoning) if conversation.reasoning else None,
        function_tools=any(not tool.custom for tool in conversation.tools),
    ):
        return "openai-responses"
    return "openai-chat"


def make_plan(asked: Asked, provider: Provider, model: str, *, strict: bool) -> Plan:
    """Return how to put ``asked`` to ``model`` of ``provider``.

    Raises GatewayError 400 where the upstream has no form for what was asked, and under ``strict`` also where a parameter
    would be dropped.
    """
    dialect = choose_dialect(asked, provider, model)
    upstream = Upstream(model, provider.flags)
    if dialect == CLIENTS[asked.dialect].native:
        return _spliced(asked, dialect, upstream)
    conversation = asked.conversation()
    repair.repair(conversation, param=CLIENTS[asked.dialect].turns)
    written = SERVERS[dialect].write_request(conversation, upstream)
    dropped = refuse_dropped(asked, written.dropped | written.weakened, strict=strict)
    return Plan(
        dialect=dialect,
        native=False,
        path=written.path,
        body=orjson.dumps(written.body),
        stream=written.stream,
        dropped=dropped,
        answer=lambda is_document: _translated(
            asked, dialect, upstream.flags, conversation, written, is_document=is_document
        ),
    )


def refuse_dropped(asked: Asked, dropped: frozenset[str], *, strict: bool) -> frozenset[str]:
    """Return ``dropped``; under ``strict`` raise the 400 that names the first of it, if there is any."""
    if strict and dropped:
        first = min(dropped)
        raise GatewayError(
            Kind.UNSUPPORTED_PARAMETER,
            f"`{first}` is not supported by `{asked.model}`, and this gateway is set to refuse what it would drop.",
            param=first,
        )
    return dropped


def continued(plan: Plan, token: str) -> bytes:
    """Return the body that asks a Gemini upstream to go on where it stopped."""
    return orjson.dumps({**orjson.loads(plan.body), "continuationToken": token})


def dropped_header(dropped: frozenset[str]) -> str:
    """Return the value of ``x-splice-dropped``: sorted names, at most 512 bytes of them."""
    value = ",".join(sorted(dropped))
    return value if len(value) <= 512 else value[:512].rpartition(",")[0]


def _may_need_responses(asked: Asked, model: str) -> bool:
    row = capabilities.openai(model)
    return row.responses_only or (
        row.tools_need_responses
        and bool(asked.document.get("tools") or asked.document.get("functions"))
    )


def _spliced(asked: Asked, dialect: Dialect, upstream: Upstream) -> Plan:
    document = asked.document
    body = orjson.dumps(document) if asked.edited else asked.body
    if dialect == "openai-chat":
        body = chat_native.rewritten(body, document, upstream, stream=asked.stream)
    elif dialect == "anthropic":
        body = messages_native.rewritten(body, document, upstream.model)
    elif dialect == "gemini":
        body = gemini_native.rewritten(body, document, upstream.model)
    else:
        body = responses_native.rewritten(body, document, upstream.model)
    return Plan(
        dialect=dialect,
        native=True,
        path=_native_path(asked, dialect, upstream.model),
        body=body,
        stream=asked.stream,
        dropped=frozenset(),
        answer=lambda is_document: splice_answer(
            asked, dialect, upstream.flags, is_document=is_document
        ),
    )


def _native_path(asked: Asked, dialect: Dialect, model: str) -> str:
    if dialect == "gemini":
        return gemini_write.generate_path(model, stream=asked.stream)
    return _NATIVE_PATHS[dialect]


def splice_answer(asked: Asked, dialect: Dialect, flags: Flags, *, is_document: bool) -> Answer:
    """Return what passes an answer on that comes in the client's own dialect."""
    if not asked.stream and is_document:
        read = USAGE_READERS[dialect]
        made = kept if dialect == "openai-responses" and _keeps(asked) else _nothing
        return WholeSplice(lambda document: read(document, flags), asked.estimate_input, made)
    if not asked.stream:
        # The server streams although it was not asked to: its events are gathered into a document.
        collected = Collected()
        decoder = SERVERS[dialect].decoder(collected, flags)
        write_answer = CLIENTS[asked.dialect].write_answer
        reply = Reply(**_reply(asked, None))
        return Whole(decoder, collected, write_answer, reply, document=False)
    if is_document:
        # The server ignored "stream": its document is played as a stream of the same dialect.
        return _stream_of(asked, dialect, flags, Reply(**_reply(asked, None)), is_document=True)
    if dialect == "openai-chat":
        include_usage = asks_usage(asked.document)
        return ChatSplice(
            asked.request_id,
            flags,
            asked.estimate_input,
            include_usage=include_usage,
            charge=asked.charge,
            pace=asked.pace,
        )
    if dialect == "gemini":
        return GeminiSplice(
            asked.request_id, flags, asked.estimate_input, array=asked.array, pace=asked.pace
        )
    if dialect == "anthropic":
        return MessagesSplice(asked.request_id, flags, asked.estimate_input, pace=asked.pace)
    return ResponsesSplice(
        asked.request_id,
        flags,
        asked.estimate_input,
        keeps=_keeps(asked),
        pace=asked.pace,
    )


def _keeps(asked: Asked) -> bool:
    """Tell whether the response may be kept by the provider: it is unless that is forbidden."""
    return asked.document.get("store") is not False


def _nothing(_: dict[str, Any]) -> Sequence[Made]:
    return ()


def _chat_usage(document: dict[str, Any], flags: Flags) -> Usage | None:
    usage = document.get("usage")
    tier = document.get("service_tier")
    tier = tier if isinstance(tier, str) else None
    return chat_decode.read_usage(usage, flags, tier=tier) if usage else None


def _messages_usage(document: dict[str, Any], flags: Flags) -> Usage | None:
    usage = document.get("usage")
    return messages_decode.read_usage(usage, flags) if usage else None


USAGE_READERS: Mapping[Dialect, Callable[[dict[str, Any], Flags], Usage | None]] = {
    "openai-chat": _chat_usage,
    "anthropic": _messages_usage,
    "openai-responses": responses_decode.response_usage,
    "gemini": document_usage,
}


def _translated(
    asked: Asked,
    dialect: Dialect,
    flags: Flags,
    conversation: Conversation,
    written: Written,
    *,
    is_document: bool,
) -> Answer:
    reply = Reply(**_reply(asked, conversation))
    if asked.stream:
        return _stream_of(asked, dialect, flags, reply, is_document=is_document, written=written)
    collected = Collected()
    turn = _restored(collected, written, reply)
    return Whole(
        SERVERS[dialect].decoder(turn, flags),
        collected,
        CLIENTS[asked.dialect].write_answer,
        reply,
        document=is_document,
    )


def _stream_of(
    asked: Asked,
    dialect: Dialect,
    flags: Flags,
    reply: Reply,
    *,
    is_document: bool,
    written: Written | None = None,
) -> Translation:
    meter = Meter(asked.pace)
    encoder = CLIENTS[asked.dialect].encoder(reply, meter)
    turn: Turn = encoder if written is None else _restored(encoder, written, reply)
    return Translation(
        SERVERS[dialect].decoder(turn, flags), encoder, meter, reply, document=is_document
    )


def _restored(turn: Turn, written: Written, reply: Reply) -> Turn:
    """Return ``turn`` behind a filter that undoes what the request's translation changed; bare where it changed nothing."""
    if not (written.names.back or written.json_tool or reply.custom_tools):
        return turn
    return Restored(
        turn, written.names, json_tool=written.json_tool, custom_tools=reply.custom_tools
    )


def _reply(asked: Asked, conversation: Conversation | None) -> dict[str, Any]:
    facts = (
        reply_facts(conversation)
        if conversation is not None
        else {"include_usage": asks_usage(asked.document)}
    )
    remembers = conversation is not None and bool(conversation.tools)
    return {
        "model": asked.model,
        "created": int(asked.now),
        "request_id": asked.request_id,
        "mint": asked.mint,
        "remember": asked.remember if remembers else None,
        "estimate_input": asked.estimate_input,
        "charge": asked.charge,
        "array": asked.array,
        "echo": responses_read.echo(asked.document) if asked.dialect == "responses" else {},
        **facts,
    }


def asks_usage(document: Mapping[str, Any]) -> bool:
    """Tell whether a request for a stream wants the event that tells what was used."""
    options = document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
