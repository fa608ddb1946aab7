"""Nothing of an answer reaches the client before its content does; until then another account may be asked."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    PATHS,
    account,
    body_of,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Cut, Pause, Reset, Scripted, Step, whole
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")
RETRIED = [
    "fail_503",
    "fail_429",
    "fail_401",
    "fail_529",
    "event",
    "html",
    "cut",
    "reset",
    "silence",
    "garbage",
]


def failing(how: str, dialect: str):
    """Return the script of an upstream that fails before any content."""
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect))
    match how:
        case "event":
            return [begun + spoken.chunk(spoken.failure(dialect)) + spoken.LAST]
        case "html":
            return [whole(b"<!doctype html><title>Sign in</title>", content_type="text/html")]
        case "cut":
            return [begun, Cut()]
        case "reset":
            return [Reset()]
        case "silence":
            return [begun + spoken.LAST]
        case "garbage":
            return [b"\x16\x03\x01 this is no HTTP\r\n\r\n", Cut()]
        case _:
            pass
    return [
        whole(json.dumps({"error": {"message": "inside"}}).encode(), f"{how[5:]} No", **spoken.JSON)
    ]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("kind", "status"), [("overloaded", 503), ("rate_limit", 429)])
async def test_an_error_after_the_metadata_is_a_status_and_no_stream(
    surface, dialect, kind, status
):
    answer = (
        spoken.HEAD
        + spoken.chunk(spoken.metadata(dialect) + spoken.failure(dialect, kind))
        + spoken.LAST
    )
    async with in_front_of([answer], dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
    assert answered.status == status
    assert int(answered.headers["retry-after"]) >= 1
    assert answered.headers["content-type"] == "application/json"
    assert "inside" not in answered.error["message"]


@pytest.mark.parametrize("how", RETRIED)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_second_account_answers_when_the_first_fails_before_content(how, stream):
    dialect = "openai-chat"
    good = (
        spoken.streamed(dialect, "from the second")
        if stream
        else spoken.told(dialect, "from the second")
    )
    async with Scripted(failing(how, dialect)) as bad, Scripted([good]) as fine:
        tables = upstream(bad.url) + account("second", "up", base_url=f'"{fine.url}"', priority="1")
        async with gateway(config_text(tables)) as front:
            answered = await front.chat(stream=stream)
            line = await front.last()
    assert (answered.status, answered.text) == (200, "from the second")
    assert b"inside" not in answered.body
    assert (line["attempts"], line["account"], line["status"]) == (2, "second", 200)
    assert line.get("error_type") is None
    assert len(bad.requests) == len(fine.requests) == 1


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_byte_of_the_failed_answer_is_in_the_second_accounts(surface, dialect):
    first: list[Step] = [
        spoken.HEAD,
        spoken.chunk(spoken.metadata(dialect).replace(b'"m"', b'"tell-tale"')),
        Cut(),
    ]
    async with Scripted(first) as bad, Scripted([spoken.streamed(dialect)]) as fine:
        tables = upstream(bad.url, dialect) + account(
            "second", "up", base_url=f'"{fine.url}"', priority="1"
        )
        async with gateway(config_text(tables)) as front:
            answered = await front.ask(surface, stream=True)
    assert (answered.status, answered.text, answered.whole) == (200, "Hello", True)
    assert b"tell-tale" not in answered.body


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_web_page_with_status_200_is_a_502(surface, dialect, stream):
    page = whole(b"<!doctype html><title>Sign in</title>", content_type="text/html")
    async with in_front_of([page], dialect) as (front, _):
        answered = await front.ask(surface, stream=stream)
        line = await front.last()
    assert answered.status == 502
    assert b"Sign in" not in answered.body
    assert line["error_type"] == "bad_response"


async def test_a_bad_request_is_not_tried_elsewhere():
    refusal = whole(
        json.dumps({"error": {"message": "temperature is too high"}}).encode(),
        "400 Bad",
        **spoken.JSON,
    )
    async with Scripted([refusal]) as up, Scripted([spoken.told("openai-chat")]) as second:
        tables = upstream(up.url) + account(
            "second", "up", base_url=f'"{second.url}"', priority="1"
        )
        async with gateway(config_text(tables)) as front:
            answered = await front.chat()
    assert answered.status == 400
    assert answered.error["message"] == "temperature is too high"
    assert second.requests == []


async def test_as_many_accounts_are_tried_as_the_configuration_says():
    refusal = whole(b'{"error":{"message":"no"}}', "500 No", **spoken.JSON)
    async with Scripted([refusal]) as up:
        more = "".join(account(f"a{n}", "up") for n in range(4))
        async with gateway(config_text(upstream(up.url) + more, retry="attempts = 2")) as front:
            answered = await front.chat()
            line = await front.last()
    assert answered.status == 502
    assert len(up.requests) == line["attempts"] == 2


async def test_the_next_target_of_a_model_is_tried_when_the_first_has_nobody_left():
    refusal = whole(b'{"error":{"message":"no"}}', "503 No", **spoken.JSON)
    async with (
        Scripted([refusal]) as bad,
        Scripted([spoken.told("anthropic", "from Anthropic")]) as fine,
    ):
        model = '[[models]]\nname = "smart"\ntargets = ["up/m", "other/n"]\n'
        tables = upstream(bad.url) + upstream(fine.url, "anthropic", "other") + model
        async with gateway(config_text(tables)) as front:
            answered = await front.chat("smart")
            line = await front.last()
    assert answered.text == "from Anthropic"
    assert (line["model"], line["upstream_model"], line["attempts"]) == ("smart", "n", 2)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_head_waits_for_the_content(surface, dialect):
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata(dialect)))
        await go_on.wait()
        rest = spoken.text(dialect, "Hello") + spoken.end(dialect)
        writer.write(spoken.chunk(rest) + spoken.LAST)

    async with in_front_of(script, dialect) as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "POST", PATHS[surface], encoded(body_of(surface, stream=True)), authorization=BEARER
            )
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.reader.read(1), 0.05)
        go_on.set()
        answered = await wire.answer()
    assert answered.text == "Hello"


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_answer_without_content_is_an_answer_all_the_same(surface):
    dialect = "openai-chat" if surface == "chat" else "anthropic"
    said = spoken.metadata(dialect) + spoken.end(dialect, "").replace(
        spoken.event({"type": "content_block_stop", "index": 0}), b""
    )
    async with in_front_of([spoken.HEAD + spoken.chunk(said) + spoken.LAST], dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
    assert (answered.status, answered.text, answered.whole) == (200, "", True)


async def test_metadata_without_end_is_let_through_and_given_up_when_no_content_comes():
    async def script(reader, writer, request):
        writer.write(spoken.HEAD)
        while not writer.is_closing():
            writer.write(spoken.chunk(spoken.chat_chunk({"role": "assistant"}) * 4))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with in_front_of(script, timeouts='first_content = "1500ms"') as (front, _):
        answered = await front.chat(stream=True)
        line = await front.last()
    assert answered.status == 200
    assert b'"code":"timeout"' in answered.body
    assert not answered.body.endswith(b"data: [DONE]\n\n")
    assert line["error_type"] == "timeout_first_content"


async def test_bodies_come_unchanged_from_the_second_account_too():
    body = body_of("chat", unusual={"kept": [1, 2.50, "é"]})
    async with Scripted([Reset()]) as bad, Scripted([spoken.told("openai-chat")]) as fine:
        tables = upstream(bad.url) + account("second", "up", base_url=f'"{fine.url}"', priority="1")
        async with gateway(config_text(tables)) as front:
            await front.post("/v1/chat/completions", body)
    expected = json.dumps(body).encode().replace(b'"up/m"', b'"m"')
    assert fine.requests[0].body == expected


async def test_comments_of_a_queueing_provider_do_not_end_the_wait_for_content():
    steps: list[Step] = [spoken.HEAD]
    for _ in range(80):
        steps += [spoken.chunk(b": keep-alive\n\n"), Pause(0.001)]
    steps.append(spoken.chunk(spoken.stream("openai-chat")) + spoken.LAST)
    async with in_front_of(steps) as (front, _):
        answered = await front.chat(stream=True)
    assert answered.status == 200
    assert b'"Hello"' in answered.body
    assert answered.body.endswith(b"data: [DONE]\n\n")


async def test_metadata_larger_than_can_be_held_goes_on_as_it_comes():
    echoed = {"id": "resp_1", "object": "response", "instructions": "x" * 140_000, "output": []}
    begun = spoken.event({"type": "response.created", "response": echoed})
    begun += spoken.event({"type": "response.in_progress", "response": echoed})
    said = spoken.text("openai-responses", "Hello") + spoken.end("openai-responses")
    steps = [spoken.HEAD + spoken.chunk(begun), spoken.chunk(said) + spoken.LAST]
    async with in_front_of(steps, "openai-responses") as (front, _):
        body = {"model": "up/m", "input": "Hi", "stream": True}
        answered = await front.post("/v1/responses", body)
    assert answered.status == 200
    assert answered.body.startswith(begun)
    assert b"response.completed" in answered.body


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", None])
async def test_a_stream_under_another_label_is_a_stream(kind):
    label = f"content-type: {kind}\r\n" if kind else ""
    head = f"HTTP/1.1 200 OK\r\n{label}transfer-encoding: chunked\r\n\r\n".encode()
    steps = [head + spoken.chunk(spoken.stream("openai-chat")) + spoken.LAST]
    async with in_front_of(steps) as (front, _):
        answered = await front.chat(stream=True)
    assert answered.status == 200
    assert b'"Hello"' in answered.body
