"""Streams that are spliced come through as they were sent, but for the few things that break clients."""

from __future__ import annotations

import json

import openai
import pytest

from tests.integration import spoken
from tests.integration.gateway import DIALECTS, config_text, gateway, in_front_of, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.sdk import OpenAI, user
from tests.integration.spoken import HEAD, LAST, chunk, data


def streamed(*frames: bytes) -> list[bytes]:
    return [HEAD + b"".join(chunk(frame) for frame in frames) + LAST]


TEXT = spoken.chat_chunk({"content": "Hello"})
STOP = spoken.chat_chunk({}, "stop")
DONE = b"data: [DONE]\n\n"

AZURE = (
    data({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
    spoken.chat_chunk({"role": "assistant", "content": ""}),
    TEXT,
    data({"id": "", "object": "", "created": 0, "model": "",
          "choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 1}}]}),
    STOP,
    DONE,
)  # fmt: skip


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_loop_of_every_tutorial_survives_azure(asynchronous):
    async with in_front_of(streamed(*AZURE)) as (front, _):
        sdk = OpenAI(front, asynchronous=asynchronous)
        chunks = await sdk.stream(model="up/m", messages=user("Hi"))
        await sdk.close()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"


async def test_frames_come_through_byte_for_byte():
    odd = b'data: {"id":"x", "odd" : [1.50, "\\u00e9"],"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
    async with in_front_of(streamed(odd, STOP, DONE)) as (front, _):
        answered = await front.chat(stream=True)
    assert answered.body == odd + STOP + DONE


async def test_a_document_comes_through_byte_for_byte():
    body = b'{ "id": "x",\n "choices": [ {"message": {"content": "Hello"}, "odd": 1.50} ], "usage": null }'
    async with in_front_of([whole(body, **spoken.JSON)]) as (front, _):
        answered = await front.chat()
    assert answered.body == body


@pytest.mark.parametrize(
    "wanted",
    [None, {"include_usage": False}, {"include_usage": True}, {}],
    ids=["absent", "false", "true", "empty"],
)
async def test_the_usage_chunk_is_for_those_who_asked(wanted):
    fields = {} if wanted is None else {"stream_options": wanted}
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, up):
        answered = await front.chat(stream=True, **fields)
        line = await front.last()
    told = [one for one in answered.data if one != "[DONE]" and one.get("usage")]
    assert bool(told) == bool(wanted and wanted.get("include_usage"))
    assert json.loads(up.requests[0].body)["stream_options"] == {"include_usage": True}
    assert line["output_tokens"] == spoken.OUTPUT


async def test_usage_beside_the_last_content_stays_where_it_is():
    last = data(
        {
            "id": "c",
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": spoken.chat_usage(),
        }
    )
    async with in_front_of(streamed(TEXT, last, DONE)) as (front, _):
        answered = await front.chat(stream=True)
        line = await front.last()
    assert answered.body == TEXT + last + DONE
    assert line["output_tokens"] == spoken.OUTPUT


async def test_a_provider_that_refuses_stream_options_is_not_sent_any():
    async with (
        Scripted([spoken.streamed("openai-chat")]) as up,
        gateway(config_text(upstream(up.url, flags="{ stream_options = false }"))) as front,
    ):
        await front.chat(stream=True)
    assert "stream_options" not in json.loads(up.requests[0].body)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ((b"\xef\xbb\xbf" + TEXT, STOP, DONE), TEXT + STOP + DONE),
        ((b"id: 1\nretry: 5\nevent: message\n" + TEXT, STOP, DONE), TEXT + STOP + DONE),
        ((TEXT.replace(b"\n", b"\r\n"), STOP.replace(b"\n", b"\r\n"), DONE), TEXT + STOP + DONE),
        ((TEXT.replace(b"\n", b"\r"), STOP.replace(b"\n", b"\r"), DONE), TEXT + STOP + DONE),
        ((b": processing\n\n", TEXT, STOP, DONE), b": processing\n\n" + TEXT + STOP + DONE),
        ((b"data:\n\n", b"event: ping\n\n", TEXT, STOP, DONE), TEXT + STOP + DONE),
        ((TEXT, STOP), TEXT + STOP + DONE),
        ((TEXT, STOP[:-2]), TEXT + STOP + DONE),
        ((TEXT, STOP, b"data: [DONE]"), TEXT + STOP + DONE),
        ((TEXT, STOP, DONE, TEXT), TEXT + STOP + DONE),
        ((TEXT.replace(b"data: ", b"data:"), STOP, DONE), TEXT.replace(b"data: ", b"data:") + STOP + DONE),
    ],
    ids=["bom", "lines", "crlf", "cr", "comment", "empty", "no-done", "dangling", "dangling-done", "after-done", "no-space"],
)  # fmt: skip
async def test_what_clients_cannot_read_is_put_right(sent, seen):
    async with in_front_of(streamed(*sent)) as (front, _):
        answered = await front.chat(stream=True)
    assert answered.body == seen


async def test_an_error_object_after_content_is_raised_by_the_sdk():
    async with in_front_of(streamed(TEXT, spoken.failure("openai-chat"))) as (front, _):
        sdk = OpenAI(front, asynchronous=True)
        with pytest.raises(openai.APIError, match="overloaded"):
            await sdk.stream(model="up/m", messages=user("Hi"))
        await sdk.close()


async def test_anthropic_frames_without_event_lines_get_them():
    plain = spoken.stream("anthropic").split(b"\n")
    bare = b"\n".join(line for line in plain if not line.startswith(b"event: "))
    async with in_front_of(streamed(bare), "anthropic") as (front, _):
        answered = await front.messages(stream=True)
    assert answered.body == spoken.stream("anthropic")


async def test_an_anthropic_stream_comes_through_byte_for_byte():
    async with in_front_of([spoken.streamed("anthropic", "He", "llo")], "anthropic") as (front, _):
        answered = await front.messages(stream=True)
    assert answered.body == spoken.stream("anthropic", "He", "llo")


@pytest.mark.parametrize("surface", ["chat", "messages"])
@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
async def test_a_server_that_ignores_stream_is_streamed_all_the_same(surface, dialect):
    async with in_front_of([spoken.told(dialect)], dialect) as (front, _):
        answered = await front.ask(surface, stream=True)
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert (answered.text, answered.whole) == ("Hello", True)


async def test_the_prompt_reaches_a_native_upstream_byte_for_byte():
    body = b'{ "messages":[{"role":"user","content":"\\u00e9t\\u00e9 \\/ 1.0"}] , "model" : "up/m","temperature":1.0, "x":[1e3] }'
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        await front.post("/v1/chat/completions", body)
    assert up.requests[0].body == body.replace(b'"up/m"', b'"m"')


async def test_a_model_named_twice_is_replaced_where_it_counts():
    body = b'{"model":"up/m","messages":[{"role":"user","content":"\\"model\\": \\"up/m\\""}],"metadata":{"model":"up/m"}}'
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        await front.post("/v1/chat/completions", body)
    sent = json.loads(up.requests[0].body)
    assert sent == {**json.loads(body), "model": "m"}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_an_upstream_that_streams_unasked_is_answered_with_a_document(surface, dialect):
    async with in_front_of([spoken.streamed(dialect, "Hello")], dialect) as (front, _):
        answered = await front.ask(surface)
        line = await front.last()
    assert answered.status == 200
    said = answered.json
    text = (
        said["choices"][0]["message"]["content"]
        if surface == "chat"
        else said["content"][0]["text"]
    )
    assert text == "Hello"
    assert line["output_tokens"] == spoken.OUTPUT
