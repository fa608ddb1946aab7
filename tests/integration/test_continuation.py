"""A Gemini answer that stops in the middle and wants to be asked on is one answer to the client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.integration import spoken
from tests.integration.gateway import account, config_text, gateway, in_front_of, upstream
from tests.integration.scripted import Reset, Scripted, whole
from tests.integration.scripted import play as play_steps


def piece(text: str, *, prompt: int, said: int, token: str | None = None) -> dict[str, object]:
    """Return an answer that says ``text`` and is over, or goes on with ``token``."""
    candidate: dict[str, object] = {
        "index": 0,
        "content": {"role": "model", "parts": [{"text": text}]},
        "finishReason": "STOP" if token is None else "CONTINUATION",
    }
    if token is not None:
        candidate["continuationToken"] = token
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": said,
        "totalTokenCount": prompt + said,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "m",
        "responseId": "g1",
    }


def script(*answers: dict[str, object] | None, stream: bool):
    """Return an upstream that gives one of ``answers`` to each request; None is a 503."""
    left = list(answers)

    async def play(reader, writer, request):
        answer = left.pop(0)
        if answer is None:
            writer.write(
                whole(b'{"error":{"code":503,"status":"UNAVAILABLE"}}', "503 No", **spoken.JSON)
            )
        elif stream:
            writer.write(whole(spoken.data(answer), **spoken.EVENTS))
        else:
            writer.write(whole(json.dumps(answer).encode(), **spoken.JSON))
        await writer.drain()

    return play


TWO = (piece("Once upon ", prompt=5, said=3, token="dG9r"), piece("a time.", prompt=9, said=4))


async def test_a_document_is_asked_on_and_its_usage_is_the_sum_of_the_hops():
    async with in_front_of(script(*TWO, stream=False), "gemini") as (front, up):
        answered = await front.chat()
        line = await front.last()
    document = answered.json
    assert document["choices"][0]["message"]["content"] == "Once upon a time."
    assert document["choices"][0]["finish_reason"] == "stop"
    assert (line["input_tokens"], line["output_tokens"]) == (14, 7)
    first, second = (json.loads(asked.body) for asked in up.requests)
    assert second == {**first, "continuationToken": "dG9r"}


@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_a_stream_is_asked_on_without_the_client_noticing(surface):
    async with in_front_of(script(*TWO, stream=True), "gemini") as (front, up):
        answered = await front.ask(surface, stream=True)
        line = await front.last()
    text = answered.body.decode()
    assert text.index("Once upon ") < text.index("a time.")
    assert text.endswith("data: [DONE]\n\n" if surface == "chat" else '"message_stop"}\n\n')
    assert (line["status"], line["output_tokens"]) == (200, 7)
    assert len(up.requests) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hop_that_fails_leaves_an_answer_that_was_cut_for_length(stream):
    async with in_front_of(script(TWO[0], None, stream=stream), "gemini") as (front, _):
        answered = await front.chat(stream=stream)
        line = await front.last()
    assert b"Once upon " in answered.body
    assert b'"finish_reason":"length"' in answered.body
    assert b'"error"' not in answered.body
    assert (line["status"], line["output_tokens"]) == (200, 3)


class Silent:
    """An upstream that asks to be asked on, and then says nothing."""

    def __init__(self, *, stream: bool) -> None:
        self.first = script(TWO[0], stream=stream)
        self.asked_on = asyncio.Event()

    async def __call__(self, reader, writer, request):
        if b"continuationToken" in request.body:
            self.asked_on.set()
            await reader.read()
        else:
            await self.first(reader, writer, request)


@pytest.mark.parametrize("surface", ["chat", "messages"])
@pytest.mark.parametrize("how", ["cancelled", "draining", "timeout_total"])
async def test_an_answer_that_is_ended_while_it_is_asked_on_is_no_whole_one(surface, how):
    silent = Silent(stream=True)
    times = 'total = "400ms"' if how == "timeout_total" else ""
    async with in_front_of(silent, "gemini", timeouts=times) as (front, _):
        asking = asyncio.get_running_loop().create_task(front.ask(surface, stream=True))
        await silent.asked_on.wait()
        (call,) = front.running.gateway.calls
        if how == "cancelled":
            assert call.cancel()
        elif how == "draining":
            call.dismiss()
        answered = await asking
        line = await front.last()
    assert (answered.status, answered.whole, answered.text) == (200, True, "Once upon ")
    assert "error" in answered.data[-1]
    assert b'finish_reason":"length' not in answered.body
    assert (line["status"], line["error_type"], line["output_tokens"]) == (200, how, 3)


@pytest.mark.parametrize(
    ("how", "status"), [("cancelled", 503), ("draining", 503), ("timeout_total", 504)]
)
async def test_a_document_that_is_ended_while_it_is_asked_on_is_an_error(how, status):
    silent = Silent(stream=False)
    times = 'total = "400ms"' if how == "timeout_total" else ""
    async with in_front_of(silent, "gemini", timeouts=times) as (front, _):
        asking = asyncio.get_running_loop().create_task(front.chat())
        await silent.asked_on.wait()
        (call,) = front.running.gateway.calls
        if how == "cancelled":
            assert call.cancel()
        elif how == "draining":
            call.dismiss()
        answered = await asking
        line = await front.last()
    assert (answered.status, line["status"], line["error_type"]) == (status, status, how)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hop_on_a_connection_that_has_died_is_asked_again_on_a_new_one(stream):
    play = script(*TWO, stream=stream)

    async def dying(reader, writer, request):
        if b"continuationToken" in request.body and request.connection == 0:
            await play_steps([Reset()], writer)
        else:
            await play(reader, writer, request)

    async with in_front_of(dying, "gemini") as (front, up):
        answered = await front.chat(stream=stream)
    assert answered.text == "Once upon a time."
    assert b'"length"' not in answered.body
    assert [asked.connection for asked in up.requests] == [0, 0, 1]


def wordless() -> dict[str, object]:
    begun = piece("", prompt=5, said=0, token="dG9r")
    candidates: Any = begun["candidates"]
    candidates[0]["content"]["parts"] = []
    return begun


@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_a_hop_that_fails_before_any_content_leaves_the_call_to_another_account(surface):
    play = script(wordless(), None, piece("Hello", prompt=5, said=1), stream=True)
    async with Scripted(play) as up:
        text = config_text(upstream(up.url, "gemini"), account("second", "up"))
        async with gateway(text) as front:
            answered = await front.ask(surface, stream=True)
            line = await front.last()
    assert (answered.status, answered.whole, answered.text) == (200, True, "Hello")
    assert (line["attempts"], len(up.requests)) == (2, 3)
    assert answered.body.count(b"event: message_start") == (surface == "messages")


@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_what_comes_before_the_content_is_not_lost_between_two_hops(surface):
    play = script(wordless(), piece("Hello", prompt=5, said=1), stream=True)
    async with in_front_of(play, "gemini") as (front, _):
        answered = await front.ask(surface, stream=True)
    assert (answered.status, answered.whole, answered.text) == (200, True, "Hello")
    assert answered.body.count(b"event: message_start") == (surface == "messages")


async def test_an_answer_without_end_is_given_up_after_thirty_two_hops():
    endless = [piece("on ", prompt=1, said=1, token="dG9r")] * 40
    async with in_front_of(script(*endless, stream=False), "gemini") as (front, up):
        document = (await front.chat()).json
    assert document["choices"][0]["message"]["content"] == "on " * 32
    assert document["choices"][0]["finish_reason"] == "length"
    assert len(up.requests) == 32
