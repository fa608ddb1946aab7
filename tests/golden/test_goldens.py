"""Every golden case, through the code that a call goes through."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from proxy.billing.prices import Price, cost_micro
from proxy.dialects import repair
from proxy.dialects.answer import Answer
from proxy.dialects.asked import Asked
from proxy.dialects.border import check
from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.names import Names, call_id_for, name_for
from proxy.dialects.plan import Plan, choose_dialect, make_plan, splice_answer
from proxy.dialects.reply import Upstream
from proxy.dialects.spoken import CLIENTS, SERVERS
from proxy.dialects.sse import Event, Splitter
from proxy.errors import GatewayError, Kind
from proxy.providers import BUILTIN, Dialect, Provider
from proxy.relay.attempt import Attempt, Refused
from proxy.server.exchange import _error_fields
from proxy.upstream.headers import account_lines, client_lines
from proxy.usage import Usage, estimate_tokens, inclusive
from tests.golden.cases import Case, agree, difference, identifiers, load
from tests.golden.dialects import (
    NATIVE,
    SPOKEN,
    Json,
    flags_of,
    frames,
    payloads,
    provider_of,
    translation,
    whole,
)
from tests.integration.gateway import chat_body, config_text, gateway, upstream
from tests.integration.scripted import Scripted
from tests.integration.scripted import whole as answer_with

CASES = load()
CUTS = 6
"""How often each stream is also fed cut at random places."""


@pytest.mark.parametrize("case", CASES, ids=identifiers(CASES))
async def test_golden(case: Case) -> None:
    pair, _, kind = case.direction.rpartition(".")
    if pair:
        one, _, other = pair.partition("→")
        _TRANSLATIONS[kind](case, NATIVE[one], NATIVE[other])
    elif case.direction in _LATER:
        await _LATER[case.direction](case)
    else:
        _PLAIN[case.direction](case)


# Requests.


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes to the upstream, and what is told of it."""

    body: Json
    path: str
    dropped: frozenset[str]
    weakened: frozenset[str]
    aggregated: bool


def request(case: Case, client: Dialect, upstream: Dialect) -> None:
    outcome: Sent | GatewayError
    try:
        outcome = sent(case.input["request"], case.context, client, upstream)
    except GatewayError as error:
        outcome = error
    if isinstance(outcome, GatewayError):
        assert "error" in case.expected, f"expected a request, found {outcome!r}"
        wanted = case.expected["error"]
        assert outcome.status == wanted["status"]
        agree(case, error_body(outcome, client), wanted["body"])
        return
    assert "error" not in case.expected, f"expected an error, found {outcome.body}"
    agree(case, outcome.body, case.expected["body"])
    for name in ("dropped", "weakened"):
        if name in case.expected:
            assert getattr(outcome, name) == set(case.expected[name])
    if "path" in case.expected:
        assert outcome.path == case.expected["path"]
    if "aggregate_stream" in case.expected:
        assert outcome.aggregated == case.expected["aggregate_stream"]


def sent(body: Json, context: Json, client: Dialect, upstream: Dialect) -> Sent:
    """Return what a provider that speaks ``upstream`` only is sent for ``body``."""
    model = context.get("upstream_model", "m")
    provider = Provider(
        name="up",
        base_url="http://127.0.0.1",
        dialects=(upstream,),
        auth="bearer",
        flags=flags_of(context.get("account")),
    )
    asked = asked_for(body, client, stream=bool(context.get("stream")))
    check(asked.dialect, asked.document)
    plan = make_plan(asked, provider, model, strict=False)
    weakened: frozenset[str] = frozenset()
    if not plan.native:
        # The header tells both in one list; a case tells them apart.
        conversation = asked.conversation()
        repair.repair(conversation, param=CLIENTS[asked.dialect].turns)
        weakened = (
            SERVERS[upstream].write_request(conversation, Upstream(model, provider.flags)).weakened
        )
    return Sent(
        orjson.loads(plan.body),
        plan.path,
        plan.dropped - weakened,
        weakened,
        plan.stream and not asked.stream,
    )


# Answers.


def response(case: Case, upstream: Dialect, client: Dialect) -> None:
    agree(case, answered(case.input["response"], upstream, client, case.context), case.expected)


def answered(document: Json, upstream: Dialect, client: Dialect, context: Json) -> Json:
    """Return the client's document for an upstream's, or the body of the error that it turns out to be."""
    answer: Answer = (
        passed_on(client, context, stream=False)
        if upstream == client
        else whole(upstream, client, context)
    )
    answer.feed(orjson.dumps(document))
    out = answer.finish()
    if answer.error is not None:
        return error_body(answer.error, client)
    written: Json = orjson.loads(out)
    return written


def stream(case: Case, upstream: Dialect, client: Dialect) -> None:
    data = frames(upstream, case.input["events"])

    def started() -> Answer:
        if upstream == client:
            return passed_on(client, case.context, stream=True)
        return translation(upstream, client, case.context)

    agree(case, payloads(client, fed(started(), [data])), case.expected)
    for seed in range(CUTS):
        told = payloads(client, fed(started(), cut(data, seed)))
        assert difference(told, case.expected, exact=case.exact) is None, f"cut with seed {seed}"
    told = payloads(client, fed(started(), [data[at : at + 1] for at in range(len(data))]))
    assert difference(told, case.expected, exact=case.exact) is None, "byte by byte"


def passed_on(dialect: Dialect, context: Json, *, stream: bool) -> Answer:
    """Return what passes an upstream's answer on to a client of the same dialect."""
    body: Json = {
        "model": context.get("client_model", "m"),
        "stream": stream,
        "stream_options": {"include_usage": bool(context.get("include_usage"))},
    }
    asked = asked_for(body, dialect, stream=stream)
    return splice_answer(asked, dialect, flags_of(context.get("account")), is_document=not stream)


def fed(answer: Answer, reads: list[bytes]) -> bytes:
    """Return what the client gets of these reads; as in the relay, nothing is read past the end."""
    out = b""
    for read in reads:
        if not answer.ended:
            out += answer.feed(read)
    return out if answer.ended else out + answer.finish()


def cut(data: bytes, seed: int) -> list[bytes]:
    """Return ``data`` in up to a dozen pieces, some of them single bytes."""
    source = random.Random(seed)
    places = sorted(source.randrange(len(data) + 1) for _ in range(source.randrange(1, 12)))
    places += [place + 1 for place in places if place < len(data)]
    edges = sorted({0, *places, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


# Errors.


async def error(case: Case) -> None:
    given = case.input
    client = NATIVE[given["client"]]
    if "gateway" in given:
        failure = GatewayError(
            _gateway_kind(given["gateway"]),
            given.get("message", "No."),
            retry_after=given.get("retry_after_s"),
        )
    else:
        failure = await _refusal(given, client)
    body = failure.native_body
    told = orjson.loads(body) if body is not None else error_body(failure, client)
    expected = case.expected
    assert failure.status == expected["status"]
    agree(case, told, expected["body"])
    if "class" in expected:
        assert _class(failure.kind) == expected["class"]
    if "failover" in expected:
        assert failure.row.another == expected["failover"]
    if "headers" in expected:
        lines = dict(line.split(": ", 1) for line in _error_fields(failure).decode().splitlines())
        agree(case, lines, expected["headers"])


def error_body(failure: GatewayError, client: Dialect) -> Json:
    written: Json = orjson.loads(orjson.dumps(SPOKEN[client].write_error(failure, "req_test")))
    return written


_GATEWAY_KINDS = {
    "key_tpm": Kind.KEY_RATE,
    "key_rate": Kind.KEY_RATE,
    "concurrency": Kind.KEY_CONCURRENCY,
    "budget_exceeded": Kind.BUDGET,
    "queue_timeout": Kind.NOBODY,
    "no_account": Kind.NOBODY,
    "all_cooling": Kind.ALL_LIMITED,
    "address": Kind.ADDRESS_NOT_ALLOWED,
    "method_not_allowed": Kind.METHOD,
    "ledger_unavailable": Kind.LEDGER,
    "not_found": Kind.UNKNOWN_OBJECT,
    "too_large": Kind.BODY_TOO_LARGE,
}
"""Words for our own refusals that are not those of ``proxy.errors.Kind``."""


def _gateway_kind(name: str) -> Kind:
    return _GATEWAY_KINDS.get(name) or Kind(name)


def _class(kind: Kind) -> str:
    """Return the class of a kind: an account that may not use one model is refused like one that may use none."""
    return "upstream_auth" if kind is Kind.UPSTREAM_FORBIDDEN else str(kind)


class _Upstreamless:
    """What an attempt belongs to and what it reads from, as far as a refusal needs them."""

    wants_stream = False

    def __init__(self) -> None:
        self.delivery: Any = self

    def write(self, data: bytes) -> None:
        raise AssertionError("nothing of a refusal is written by an attempt")

    def first_byte(self, now: float) -> None:
        """Nobody measures."""

    def first_content(self, now: float) -> bytes:
        raise AssertionError("a refusal has no content")

    def settle(self, answer: Answer) -> None:
        raise AssertionError("a refusal is not settled")

    def abort(self) -> None:
        """There is no connection."""


async def _refusal(given: Json, client: Dialect) -> GatewayError:
    """Return the failure that an attempt makes of an upstream's answer with an error status."""
    upstream = NATIVE.get(given["upstream"], "openai-chat")
    nobody = _Upstreamless()
    plan = Plan(
        dialect=upstream,
        native=upstream == client,
        path="/",
        body=b"",
        stream=False,
        dropped=frozenset(),
        answer=lambda is_document: whole(upstream, client, {}),
    )
    attempt = Attempt(nobody, plan, nobody, asyncio.get_running_loop())  # type: ignore[arg-type]  # see its docstring
    headers = {
        name.lower().encode(): str(value).encode()
        for name, value in given.get("headers", {}).items()
    }
    body = given.get("body", "")
    attempt.head(given["status"], headers)
    attempt.body(body.encode() if isinstance(body, str) else orjson.dumps(body))
    attempt.complete()
    outcome = await attempt.outcome
    assert isinstance(outcome, Refused)
    return outcome.error


# Tables.


def finish(case: Case) -> None:
    given = case.input
    upstream, client = NATIVE[given["from"]], NATIVE[given["to"]]
    reason = given["reason"]
    calls = given.get("has_calls", reason in ("tool_calls", "function_call", "tool_use"))
    document = _finished(upstream, reason, calls=calls, emitted=given.get("emitted", True))
    told = answered(document, upstream, client, {})
    agree(case, _finish_of(client, told), case.expected)


def _finished(upstream: Dialect, reason: str, *, calls: bool, emitted: bool) -> Json:
    """Return an answer of ``upstream`` that ended for ``reason``."""
    text = "text" if emitted else ""
    match upstream:
        case "openai-chat":
            call = {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
            message = {
                "role": "assistant",
                "content": text,
                **({"tool_calls": [call]} if calls else {}),
            }
            return {
                "id": "x",
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            }
        case "anthropic":
            blocks: list[Json] = [{"type": "text", "text": text}] if text else []
            blocks += (
                [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}] if calls else []
            )
            return {
                "id": "x",
                "type": "message",
                "role": "assistant",
                "content": blocks,
                "stop_reason": reason,
            }
        case "gemini":
            parts: list[Json] = [{"text": text}] if text else []
            parts += [{"functionCall": {"name": "f", "args": {}}}] if calls else []
            return {
                "candidates": [
                    {"content": {"role": "model", "parts": parts}, "finishReason": reason}
                ]
            }
        case "openai-responses":
            status, _, detail = reason.partition(":")
            content = [{"type": "output_text", "text": text, "annotations": []}]
            items: list[Json] = (
                [{"type": "message", "role": "assistant", "content": content}] if text else []
            )
            call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
            details = {"reason": detail} if detail else None
            output = [*items, call] if calls else items
            return {
                "id": "x",
                "object": "response",
                "status": status,
                "output": output,
                "incomplete_details": details,
            }


def _finish_of(client: Dialect, document: Json) -> Any:
    if document.get("error"):
        error = document["error"]
        return error.get("code") or error.get("type") or error["status"]
    match client:
        case "openai-chat":
            return document["choices"][0]["finish_reason"]
        case "anthropic":
            return document["stop_reason"]
        case "gemini":
            return document["candidates"][0]["finishReason"]
        case "openai-responses":
            detail = document.get("incomplete_details")
            return f"{document['status']}:{detail['reason']}" if detail else document["status"]


def usage(case: Case) -> None:
    dialect = NATIVE[case.input["dialect"]]
    read = SPOKEN[dialect].read_usage(case.input["usage"], flags_of(case.input.get("account")))
    told = {
        "canonical": {
            "in_total": read.input_total,
            "cache_read": read.cache_read,
            "cache_write": read.cache_writes,
            "cache_write_5m": read.cache_write,
            "cache_write_1h": read.cache_write_1h,
            "out_total": read.output,
            "reasoning": read.reasoning,
            "audio_in": read.audio_input,
            "audio_out": read.audio_output,
            "searches": read.searches,
            "tier": read.tier,
        },
        "encoded": {
            name: SPOKEN[NATIVE[name]].write_usage(read)
            for name in ("chat", "messages", "responses", "gemini")
        },
    }
    agree(case, told, case.expected)


def sse(case: Case) -> None:
    given = case.input
    if "chunks_hex" in given:
        reads = [bytes.fromhex(chunk) for chunk in given["chunks_hex"]]
    else:
        reads = [chunk.encode() for chunk in given["chunks"]]
    data = b"".join(reads)
    for pieces in (
        reads,
        [data],
        [data[at : at + 1] for at in range(len(data))],
        *(cut(data, seed) for seed in range(CUTS)),
    ):
        splitter = Splitter()
        events: list[Event] = [event for piece in pieces for event in splitter.feed(piece)]
        events += splitter.finish()
        told = [
            {"event": None if name is None else name.decode(), "data": held.decode()}
            for name, held in events
        ]
        agree(case, told, case.expected)


def splice(case: Case) -> None:
    given = case.input
    data = bytes.fromhex(given["bytes_hex"]) if "bytes_hex" in given else given["bytes"].encode()
    flags = flags_of(given.get("account"))

    def started() -> ChatSplice:
        return ChatSplice(
            "req_test", flags, lambda: 0, include_usage=bool(given.get("include_usage"))
        )

    assert fed(started(), [data]).decode() == case.expected
    for seed in range(CUTS):
        assert fed(started(), cut(data, seed)).decode() == case.expected, f"cut with seed {seed}"
    assert fed(started(), [data[at : at + 1] for at in range(len(data))]).decode() == case.expected


def tool_id(case: Case) -> None:
    target = case.input["target"]
    nine = target in ("mistral", "nine") or flags_of(case.input.get("account")).tool_id_nine
    assert (
        call_id_for(NATIVE.get(target, "openai-chat"), case.input["id"], nine=nine) == case.expected
    )


def tool_name(case: Case) -> None:
    target, name = NATIVE[case.input["target"]], case.input["name"]
    assert name_for(target, name) == case.expected
    names = Names.of(target, [name])
    assert names.to_upstream(name) == case.expected
    assert names.to_client(case.expected) == name


def estimate(case: Case) -> None:
    assert estimate_tokens(case.input["text"]) == case.expected


def route(case: Case) -> None:
    given = case.input
    dialect, model = NATIVE[given["client"]], given["model"]
    provider = provider_of(given["account"])
    tools, effort = given.get("has_function_tools", False), given.get("reasoning_effort")
    asked = asked_for(_question(dialect, model, effort, tools=tools), dialect)
    assert choose_dialect(asked, provider, model) == case.expected


def _question(dialect: Dialect, model: str, effort: str | None, *, tools: bool) -> Json:
    schema = {"type": "object", "properties": {}}
    function = {"name": "f", "parameters": schema}
    match dialect:
        case "openai-chat":
            body: Json = {"messages": [{"role": "user", "content": "Hi"}]}
            body |= {"reasoning_effort": effort} if effort else {}
            offered: Json = {"type": "function", "function": function}
        case "openai-responses":
            body = {"input": "Hi", **({"reasoning": {"effort": effort}} if effort else {})}
            offered = {"type": "function", **function}
        case "anthropic":
            body = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
            if effort == "none":
                body["thinking"] = {"type": "disabled"}
            elif effort:
                body |= {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
            offered = {"name": "f", "input_schema": schema}
        case _:
            body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
            thinking = (
                {"thinkingBudget": 0}
                if effort == "none"
                else {"thinkingLevel": str(effort).upper()}
            )
            body |= {"generationConfig": {"thinkingConfig": thinking}} if effort else {}
            offered = {"functionDeclarations": [function]}
    return {"model": model, **body, **({"tools": [offered]} if tools else {})}


def asked_for(body: Json, dialect: Dialect, *, stream: bool = False) -> Asked:
    """Return ``body`` as the endpoint of its dialect hands it on; Gemini's clients say in the path that they want a stream."""
    return Asked(
        dialect=next(name for name, client in CLIENTS.items() if client.native == dialect),
        body=orjson.dumps(body),
        document=body,
        edited=False,
        model=str(body.get("model")),
        stream=stream or body.get("stream") is True,
        request_id="req_test",
        now=1_700_000_000.0,
        mint=lambda: "0" * 24,
        recall=lambda conversation: None,
        remember=lambda call_id, parts: None,
    )


def price(case: Case) -> None:
    given = case.input
    at = datetime.fromisoformat(given["at"]) if "at" in given else datetime(2026, 1, 1, tzinfo=UTC)
    cost = cost_micro(_canonical(given["usage"]), Price.parse(given["prices_usd_per_mtok"]), at)
    agree(case, {"micro_usd": cost}, case.expected)


def _canonical(given: Json) -> Usage:
    return inclusive(
        input_total=given.get("in_total", 0),
        output=given.get("out_total", 0),
        cache_read=given.get("cache_read", 0),
        cache_write=given.get("cache_write_5m") or given.get("cache_write") or 0,
        cache_write_1h=given.get("cache_write_1h", 0),
        reasoning=given.get("reasoning", 0),
        audio_input=given.get("audio_in", 0),
        audio_output=given.get("audio_out", 0),
        searches=given.get("searches", 0),
    )


# Headers.


async def headers(case: Case) -> None:
    lines = (
        await _answer_headers(case.input)
        if "response_headers" in case.input
        else _request_headers(case.input)
    )
    expected = case.expected
    wrong = {
        name: lines.get(name)
        for name, value in expected.get("present", {}).items()
        if lines.get(name) != value
    }
    assert not wrong, f"expected {expected['present']}, found {lines}"
    assert not lines.keys() & set(expected.get("absent", ()))


def _request_headers(given: Json) -> dict[str, str]:
    upstream = NATIVE[given["upstream"]]
    row = BUILTIN.get(given.get("provider", ""))
    auth = (
        row.auth
        if row is not None
        else {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(upstream, "bearer")
    )
    sent = account_lines(
        auth,  # type: ignore[arg-type]  # one of the literals
        given["account_key"],
        stream=given.get("stream", False),
        agent=b"splice",
    ) + client_lines(
        upstream,
        {name.lower(): value for name, value in given.get("headers", {}).items()},
        native=given.get("native", False),
    )
    return {name.decode().lower(): value.decode() for name, value in sent}


async def _answer_headers(given: Json) -> dict[str, str]:
    """Return the header of what the gateway answers, with our own request id written as the case's."""
    body = orjson.dumps(_finished("openai-chat", "stop", calls=False, emitted=True))
    told = answer_with(
        body,
        f"{given.get('status', 200)} Told",
        content_type="application/json",
        **given["response_headers"],
    )
    async with Scripted([told]) as server, gateway(config_text(upstream(server.url))) as running:
        answer = await running.post("/v1/chat/completions", chat_body())
    lines = answer.headers
    own = lines["x-request-id"]
    return {name: given["request_id"] if value == own else value for name, value in lines.items()}


_TRANSLATIONS: dict[str, Callable[[Case, Dialect, Dialect], None]] = {
    "request": request,
    "response": response,
    "stream": stream,
}
_PLAIN: dict[str, Callable[[Case], None]] = {
    "finish": finish,
    "usage": usage,
    "sse": sse,
    "splice": splice,
    "tool_id": tool_id,
    "tool_name": tool_name,
    "estimate": estimate,
    "route": route,
    "price": price,
}
_LATER: dict[str, Any] = {"error": error, "headers": headers}
"""The directions for which a loop has to run."""
