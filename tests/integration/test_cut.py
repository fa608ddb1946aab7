"""A stream that breaks after its content ends with an error frame, and never as if it were complete."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration import spoken
from tests.integration.gateway import DIALECTS, account, config_text, gateway, in_front_of, upstream
from tests.integration.scripted import Cut, Reset, Scripted

SURFACES = ("chat", "messages")


def assert_ends_in_error(surface, answered, *, said):
    """The stream is whole as HTTP goes, says ``said``, and its last frame is an error in the dialect."""
    assert (answered.status, answered.whole, answered.text) == (200, True, said)
    assert b"[DONE]" not in answered.body
    assert b"message_stop" not in answered.body
    last = answered.data[-1]
    request_id = answered.headers["x-request-id"]
    if surface == "chat":
        assert set(last["error"]) >= {"message", "type", "param", "code"}
    else:
        assert answered.frames[-1].startswith(b"event: error\n")
        assert (last["type"], last["request_id"]) == ("error", request_id)
    assert "inside" not in str(last)
    return last["error"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("how", [Cut(), Reset(), spoken.LAST], ids=["cut", "reset", "end"])
async def test_a_cut_after_content_is_an_error_frame(surface, dialect, how):
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))

    async def script(reader, writer, request):
        writer.write(begun)
        await writer.drain()
        await asyncio.sleep(0.02)  # a reset may overtake bytes that have not been read
        if isinstance(how, bytes):
            writer.write(how)
        elif isinstance(how, Cut):
            writer.close()
        else:
            writer.transport.abort()

    async with in_front_of(script, dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
        line = await front.last()
    error = assert_ends_in_error(surface, answered, said="He")
    assert error["message"] == "The upstream provider closed the stream early."
    assert (line["status"], line["error_type"], line["attempts"]) == (200, "truncated", 1)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_error_event_after_content_is_an_error_frame(surface, dialect):
    said = spoken.metadata(dialect) + spoken.text(dialect, "He") + spoken.failure(dialect)
    async with in_front_of([spoken.HEAD + spoken.chunk(said) + spoken.LAST], dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
        line = await front.last()
    error = assert_ends_in_error(surface, answered, said="He")
    assert error["message"] == "The upstream provider is overloaded; retry later."
    assert (line["status"], line["error_type"]) == (200, "overloaded")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_nobody_else_is_asked_after_content(surface, dialect):
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
    async with Scripted([begun, Cut()]) as up, Scripted([spoken.streamed(dialect)]) as second:
        tables = upstream(up.url, dialect) + account(
            "second", "up", base_url=f'"{second.url}"', priority="1"
        )
        async with gateway(config_text(tables)) as front:
            answered = await front.ask(surface, stream=True)
    assert_ends_in_error(surface, answered, said="He")
    assert second.requests == []


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_before_content_is_a_502(surface, dialect, stream):
    begun = (
        spoken.HEAD + spoken.chunk(spoken.metadata(dialect))
        if stream
        else spoken.told(dialect)[:-20]
    )
    async with in_front_of([begun, Cut()], dialect) as (front, _):
        answered = await front.ask(surface, stream=stream)
        line = await front.last()
    assert answered.status == 502
    assert answered.error["message"] == "The upstream provider closed the stream early."
    assert line["error_type"] == "truncated"


@pytest.mark.parametrize("surface", SURFACES)
async def test_what_was_consumed_before_a_cut_is_in_the_log(surface):
    begun = spoken.HEAD + spoken.chunk(
        spoken.metadata("anthropic") + spoken.text("anthropic", "He")
    )
    async with in_front_of([begun, Cut()], "anthropic") as (front, _):
        await front.ask(surface, stream=True)
        line = await front.last()
    assert line["input_tokens"] == spoken.INPUT
    assert line["output_tokens"] >= 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_stream_that_arrives_byte_by_byte_is_the_same_stream(surface, dialect):
    whole = spoken.stream(dialect, "He", "llo, ", "wörld")

    async def script(reader, writer, request):
        writer.write(spoken.HEAD)
        for at in range(len(whole)):
            writer.write(spoken.chunk(whole[at : at + 1]))
            await writer.drain()
        writer.write(spoken.LAST)

    async with in_front_of(script, dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
    assert (answered.text, answered.whole) == ("Hello, wörld", True)
    assert answered.body.endswith(
        b"data: [DONE]\n\n"
        if surface == "chat"
        else b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_upstream_that_ends_its_body_late_does_not_hold_the_client(surface):
    dialect = "openai-chat" if surface == "chat" else "anthropic"

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.stream(dialect)))
        await reader.read()  # and never the end of the body

    async with in_front_of(script, dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
    assert (answered.text, answered.whole) == ("Hello", True)
