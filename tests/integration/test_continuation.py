"""A Gemini answer that stops in the middle and wants to be asked on is one answer to the client."""

from __future__ import annotations

import json

import pytest

from tests.integration import spoken
from tests.integration.gateway import in_front_of
from tests.integration.scripted import whole


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


async def test_an_answer_without_end_is_given_up_after_thirty_two_hops():
    endless = [piece("on ", prompt=1, said=1, token="dG9r")] * 40
    async with in_front_of(script(*endless, stream=False), "gemini") as (front, up):
        document = (await front.chat()).json
    assert document["choices"][0]["message"]["content"] == "on " * 32
    assert document["choices"][0]["finish_reason"] == "length"
    assert len(up.requests) == 32
