"""What the headers say: of ours to the client, of the client's to the upstream, and of the upstream's to nobody."""

from __future__ import annotations

import re

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    KEY,
    OTHER_KEY,
    PATHS,
    SECRET,
    body_of,
    chat_body,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Scripted, whole

SURFACES = ("chat", "messages")
NATIVE = {"chat": "openai-chat", "messages": "anthropic"}
CREDENTIALS = {"openai-chat": "authorization", "openai-responses": "authorization", "anthropic": "x-api-key",
               "gemini": "x-goog-api-key"}  # fmt: skip
THEIRS = {
    "x_request_id": "upstream-id-1", "openai_organization": "org-1", "anthropic_organization_id": "org-2",
    "x_ratelimit_remaining_requests": "17", "anthropic_ratelimit_tokens_remaining": "18", "set_cookie": "a=b",
    "server": "their-server", "alt_svc": "h3", "retry_after": "99", "openai_processing_ms": "5",
}  # fmt: skip


# To the client.


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_has_one_id_under_two_names(surface, stream):
    answer = spoken.streamed("openai-chat") if stream else spoken.told("openai-chat")
    async with in_front_of([answer]) as (front, _):
        first = await front.ask(surface, stream=stream)
        second = await front.ask(surface, stream=stream)
        lines = await front.requests(2)
    for answered, line in zip((first, second), lines, strict=True):
        assert re.fullmatch(r"req_[a-z0-9]{26}", answered.headers["x-request-id"])
        assert (
            answered.headers["request-id"] == answered.headers["x-request-id"] == line["request_id"]
        )
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/nowhere", "/v1/messages"])
async def test_answers_that_are_no_model_calls_have_one_too(path):
    async with gateway(config_text()) as front:
        answered = await front.get(path)
    assert re.fullmatch(r"req_[a-z0-9]{26}", answered.headers["x-request-id"])


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_of_the_upstreams_own_headers_comes_through(surface, stream):
    dialect = NATIVE[surface]
    if stream:
        fields = "".join(
            f"{name.replace('_', '-')}: {value}\r\n" for name, value in THEIRS.items()
        ).encode()
        answer = spoken.streamed(dialect).replace(b"\r\n", b"\r\n" + fields, 1)
    else:
        answer = spoken.told(dialect).replace(
            b"\r\n", b"\r\nx-request-id: upstream-id-1\r\nset-cookie: a=b\r\n", 1
        )
    async with in_front_of([answer], dialect) as (front, _):
        answered = await front.ask(surface, stream=stream)
    assert answered.status == 200
    assert "upstream-id-1" not in answered.headers.values()
    names = {name.replace("_", "-") for name in THEIRS} - {"x-request-id"}
    assert names.isdisjoint(answered.headers)


async def test_the_times_of_a_call_are_told():
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, _):
        answered = await front.chat(stream=True)
    stages = [
        stage.strip().partition(";dur=") for stage in answered.headers["server-timing"].split(",")
    ]
    assert [name for name, _, _ in stages] == ["auth", "queue", "connect", "ttfb", "gateway"]
    assert all(float(took) >= 0 for _, _, took in stages)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_whole_answers_tokens_are_in_its_headers(surface, dialect):
    async with in_front_of([spoken.told(dialect)], dialect) as (front, _):
        answered = await front.ask(surface)
    tokens = {
        name: answered.headers[f"x-splice-tokens-{name}"]
        for name in ("input", "output", "cache-read")
    }
    assert tokens == {
        "input": str(spoken.INPUT),
        "output": str(spoken.OUTPUT),
        "cache-read": str(spoken.CACHED),
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_where_a_call_went_is_told_only_if_the_operator_says_so(stream):
    answer = spoken.streamed("openai-chat") if stream else spoken.told("openai-chat")
    answer = answer.replace(b"\r\n", b"\r\nx-request-id: upstream-id-1\r\n", 1)
    every = 'expose = ["account", "upstream_model", "attempts", "upstream_request_id"]'
    async with in_front_of([answer]) as (front, _):
        silent = await front.chat(stream=stream)
    async with in_front_of([answer], server=every) as (front, _):
        told = await front.chat(stream=stream)
    shown = {
        name: value
        for name, value in told.headers.items()
        if name.startswith("x-splice") and not {"tokens", "cost"} & set(name.split("-"))
    }
    assert shown == {
        "x-splice-account": "up", "x-splice-model": "m", "x-splice-attempts": "1",
        "x-splice-upstream-request-id": "upstream-id-1",
    }  # fmt: skip
    assert not shown.keys() & silent.headers.keys()


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_upstream_has_no_field_for_is_named(stream):
    answer = spoken.streamed("anthropic") if stream else spoken.told("anthropic")
    async with in_front_of([answer], "anthropic") as (front, _):
        answered = await front.chat(
            stream=stream, seed=1, logit_bias={"5": 1}, my_own_field=True, presence_penalty=1
        )
        plain = await front.chat(stream=stream)
    assert answered.headers["x-splice-dropped"] == "logit_bias,presence_penalty,seed,unknown"
    assert "x-splice-dropped" not in plain.headers


async def test_an_invented_field_cannot_write_headers():
    async with in_front_of([spoken.told("gemini")], "gemini") as (front, _):
        answered = await front.chat(**{"a\r\nx-evil: 1": "1"})
    assert answered.headers["x-splice-dropped"] == "unknown"
    assert "x-evil" not in answered.headers


async def test_a_strict_gateway_refuses_what_it_would_drop():
    async with in_front_of(
        [spoken.told("anthropic")], "anthropic", translation="strict = true"
    ) as (front, up):
        refused = await front.chat(seed=1)
        accepted = await front.chat()
        native = await front.messages(an_unknown_field=1)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (
        400,
        "seed",
        "unsupported_parameter",
    )
    assert "seed" in refused.error["message"]
    assert (accepted.status, native.status, len(up.requests)) == (200, 200, 2)


async def test_an_early_heads_stream_says_nothing_of_what_was_not_known_yet():
    async with in_front_of([spoken.streamed("openai-chat")], server='expose = ["account"]') as (
        front,
        _,
    ):
        answered = await front.chat(stream=True)
    assert answered.headers["x-splice-account"] == "up"


@pytest.mark.parametrize("given", ["mine-1", "a" * 128])
async def test_the_clients_own_ids_are_logged(given):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        await front.post(PATHS["chat"], body_of("chat"), x_request_id=given, traceparent=trace)
        line = await front.last()
    assert (line["client_request_id"], line["trace_id"]) == (
        given,
        "4bf92f3577b34da6a3ce929d0e0e4736",
    )


@pytest.mark.parametrize("given", ["with space", "a" * 129, "é", ""])
async def test_ids_that_are_malformed_are_not(given):
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        await front.post(
            PATHS["chat"], body_of("chat"), x_request_id=given, traceparent="00-xyz-1-01"
        )
        line = await front.last()
    assert line.get("client_request_id") is None
    assert line.get("trace_id") is None


# To the upstream.


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_credential_of_the_client_reaches_the_upstream(surface, dialect, stream):
    answer = spoken.streamed(dialect) if stream else spoken.told(dialect)
    async with in_front_of([answer], dialect) as (front, up):
        answered = await front.post(
            f"{PATHS[surface]}?key={KEY}",
            body_of(surface, stream=stream),
            authorization=BEARER, x_api_key=KEY, x_goog_api_key=KEY, api_key=KEY, cookie=f"session={KEY}",
            proxy_authorization=f"Basic {KEY}", openai_organization="org-mine", x_stainless_os="Linux",
            user_agent="their-agent", x_app="cli", accept_encoding="gzip, br", x_forwarded_for="10.1.1.1",
        )  # fmt: skip
    assert answered.status == 200
    (request,) = up.requests
    assert KEY not in str(request.headers) + request.target + request.body.decode()
    credential = CREDENTIALS[dialect]
    assert request.headers.pop(credential) == (
        f"Bearer {SECRET}" if credential == "authorization" else SECRET
    )
    version = {"anthropic-version"} if dialect == "anthropic" else set()
    assert request.headers.keys() == {
        "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
    } | version  # fmt: skip
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("splice/")
    assert request.headers["host"] == f"127.0.0.1:{up.port}"


async def test_an_anthropic_clients_version_and_betas_reach_anthropic_unchanged():
    async with in_front_of([spoken.told("anthropic")], "anthropic") as (front, up):
        await front.post(
            PATHS["messages"],
            body_of("messages"),
            anthropic_version="2026-10-21",
            anthropic_beta="a-1,b-2",
        )
        await front.post(PATHS["messages"], body_of("messages"))
    first, second = (request.headers for request in up.requests)
    assert (first["anthropic-version"], first["anthropic-beta"]) == ("2026-10-21", "a-1,b-2")
    assert second["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in second


async def test_a_translated_request_says_its_own_version_and_no_betas():
    async with in_front_of([spoken.told("anthropic")], "anthropic") as (front, up):
        await front.post(
            PATHS["chat"], body_of("chat"), anthropic_version="2026-10-21", anthropic_beta="a-1"
        )
    assert up.requests[0].headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in up.requests[0].headers


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "gemini"])
async def test_anthropics_headers_go_to_nobody_else(dialect):
    async with in_front_of([spoken.told(dialect)], dialect) as (front, up):
        await front.post(
            PATHS["messages"],
            body_of("messages"),
            anthropic_version="2023-06-01",
            anthropic_beta="a-1",
        )
    assert not {"anthropic-version", "anthropic-beta"} & up.requests[0].headers.keys()


async def test_an_openai_clients_idempotency_key_reaches_openai_as_its_own():
    once = {"idempotency_key": "once", "openai_beta": "x=1"}
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        for _ in range(2):
            await front.post(PATHS["chat"], body_of("chat"), **once)
        other = {**once, "authorization": f"Bearer {OTHER_KEY}"}
        await front.post(PATHS["chat"], body_of("chat"), **other)
        await front.post("/up/v1/chat/completions", chat_body("m"), **other)
        await front.post(PATHS["messages"], body_of("messages"), **once)
    first, again, others, native, translated = (request.headers for request in up.requests)
    assert len(first["idempotency-key"]) == 64
    assert (first["openai-beta"], again["idempotency-key"]) == ("x=1", first["idempotency-key"])
    assert others["idempotency-key"] == native["idempotency-key"] != first["idempotency-key"]
    assert not {"idempotency-key", "openai-beta"} & translated.keys()


# What is only relayed between like and like.


@pytest.mark.parametrize(("surface", "status"), [("messages", 529), ("chat", 503)])
async def test_529_is_anthropics_word_to_anthropics_clients(surface, status):
    refusal = whole(
        b'{"type":"error","error":{"type":"overloaded_error","message":"inside"}}', "529 Overloaded"
    )
    async with in_front_of([refusal], "anthropic") as (front, _):
        answered = await front.ask(surface)
    assert answered.status == status
    assert "inside" not in answered.error["message"]
    assert "retry-after" in answered.headers


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "gemini"])
async def test_529_of_any_other_upstream_is_a_503(dialect):
    async with in_front_of([whole(b"{}", "529 Overloaded")], dialect) as (front, _):
        assert (await front.messages()).status == 503


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_upstreams_400_is_told_in_its_own_words_where_both_speak_one_dialect(surface):
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"no such tool","extra":[1]},"x":2}'
    async with in_front_of([whole(body, "400 Bad Request", **spoken.JSON)], NATIVE[surface]) as (
        front,
        _,
    ):
        answered = await front.ask(surface)
    assert (answered.status, answered.body) == (400, body)


async def test_an_upstreams_401_is_a_502_that_tells_nothing():
    body = b'{"error":{"message":"Incorrect API key provided: sk-upst***cret","code":"invalid_api_key"}}'
    async with in_front_of([whole(body, "401 No", **spoken.JSON)]) as (front, _):
        answered = await front.chat()
    assert (answered.status, answered.error["message"]) == (
        502,
        "The upstream account was refused.",
    )
    assert b"sk-upst" not in answered.body


@pytest.mark.parametrize(("wait", "told"), [("7", "7"), ("90", "90")])
async def test_how_long_to_wait_is_passed_on_and_long_waits_are_not_slept_through(wait, told):
    refusal = whole(b'{"error":{"message":"x"}}', "429 No", retry_after=wait, **spoken.JSON)
    async with in_front_of([refusal]) as (front, _):
        answered = await front.chat()
    assert (answered.status, answered.headers["retry-after"]) == (429, told)
    assert answered.headers.get("x-should-retry") == ("false" if int(told) > 60 else None)


async def test_a_secret_of_an_account_is_in_no_log_line():
    async with (
        Scripted([whole(b'{"error":{"message":"' + SECRET.encode() + b'"}}', "401 No")]) as up,
        gateway(config_text(upstream(up.url))) as front,
    ):
        await front.chat()
        await front.last()
        assert SECRET not in str(front.lines)
        assert KEY not in str(front.lines)
