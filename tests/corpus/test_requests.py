"""Every recorded request is taken by the gateway, and put to an upstream of each dialect."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

import orjson
import pytest

from proxy.dialects import repair
from proxy.dialects.reply import Upstream
from proxy.dialects.spoken import SERVERS
from proxy.errors import GatewayError
from proxy.providers import DIALECTS, Dialect, Flags
from tests.corpus import table
from tests.corpus.comparison import refusals
from tests.corpus.recordings import Recording, absent, model_calls
from tests.golden.dialects import SPOKEN
from tests.integration.gateway import config_text, gateway, upstream
from tests.integration.scripted import Request, Scripted, chunked, whole

Json = dict[str, Any]

pytestmark = [
    pytest.mark.skipif(absent() is not None, reason=str(absent())),
    pytest.mark.timeout(120),
]

MODELS: dict[Dialect, tuple[str, ...]] = {
    "openai-chat": ("gpt-4.1",),
    "openai-responses": ("gpt-5.6-terra",),
    "anthropic": ("claude-sonnet-4-5", "claude-opus-5-5"),
    "gemini": ("gemini-2.5-flash", "gemini-3-flash"),
}
"""Models of each dialect that differ in what they take."""

_PATHS: dict[Dialect, str] = {
    "openai-chat": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "openai-responses": "/v1/responses",
}
"""The dialects that clients speak so far."""

_USED: set[str] = set()
_MODEL = re.compile(r"/models/([^:]+):")


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("client", _PATHS)
async def test_recorded_requests_reach_an_upstream(client: Dialect, target: Dialect) -> None:
    wrong: list[str] = []
    outcomes: Counter[str] = Counter()
    async with (
        Scripted(_say_yes) as server,
        gateway(config_text(upstream(server.url, target))) as running,
    ):
        for recording in _asked_in(client):
            for model in MODELS[target]:
                body = {**(recording.request or {}), "model": f"up/{model}"}
                answer = await running.post(_PATHS[client], body)
                said = "" if answer.status == 200 else json.dumps(answer.error)
                outcome = _outcome(recording, answer.status, said, native=client == target)
                outcomes[outcome] += 1
                if outcome == "wrong":
                    wrong.append(f"{recording.id} to {model}: {answer.status} {said[:300]}")
    table.REQUESTS[client, target] = outcomes
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("client", sorted(set(DIALECTS) - _PATHS.keys()))
def test_recorded_requests_of_other_dialects_are_translated(
    client: Dialect, target: Dialect
) -> None:
    wrong: list[str] = []
    outcomes: Counter[str] = Counter()
    for recording in _asked_in(client):
        for model in MODELS[target]:
            status, said = _translated(recording, client, target, model)
            outcome = _outcome(recording, status, said, native=False)
            outcomes[outcome] += 1
            if outcome == "wrong":
                wrong.append(f"{recording.id} to {model}: {status} {said[:300]}")
    table.REQUESTS[client, target] = outcomes
    assert not wrong, "\n".join(wrong)


def test_every_written_refusal_is_needed() -> None:
    if len(table.REQUESTS) < len(DIALECTS) ** 2:
        pytest.skip("not every pair of dialects was tried in this run")
    assert set(refusals()) == _USED


def _asked_in(client: Dialect) -> list[Recording]:
    return [
        recording
        for recording in model_calls()
        if recording.wire == client and recording.request is not None
    ]


def _outcome(recording: Recording, status: int, said: str, *, native: bool) -> str:
    """Judge an answer. What a provider took in its own dialect is to be taken; another dialect may have no form for it.

    What the recorded provider itself has refused may be refused here too.
    """
    if status == 200:
        return "taken"
    if status == 400 and recording.status != 200:
        return "refused, as recorded"
    if (status == 400 and not native) or status == 404:
        for words in refusals():
            if re.search(words, said):
                _USED.add(words)
                return "no form for it"
    return "wrong"


def _translated(
    recording: Recording, client: Dialect, target: Dialect, model: str
) -> tuple[int, str]:
    body: dict[str, Any] = orjson.loads(orjson.dumps(recording.request))
    found = _MODEL.search(recording.url)
    context = {"client_model": found[1] if found else "m", "stream": recording.request_stream}
    spoken = SPOKEN[client]
    try:
        conversation = spoken.read_request(body, context)
        repair.repair(conversation, param=spoken.turns)
        written = SERVERS[target].write_request(conversation, Upstream(model, Flags()))
        orjson.dumps(written.body)
    except GatewayError as error:
        return error.status, json.dumps([error.message, error.code, error.param])
    return 200, ""


# An upstream that answers everything.


async def _say_yes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
) -> None:
    body = json.loads(request.body)
    stream = body.get("stream") is True or ":stream" in request.target
    writer.write(_answer(request.target, stream=stream))
    await writer.drain()


def _answer(target: str, *, stream: bool) -> bytes:
    if "chat/completions" in target:
        return _chat_answer(stream=stream)
    if "/responses" in target:
        return _responses_answer(stream=stream)
    if "/messages" in target:
        return _messages_answer(stream=stream)
    content = {"role": "model", "parts": [{"text": "Yes"}]}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return (_streamed if stream else _document)({"candidates": [candidate]})


def _chat_answer(*, stream: bool) -> bytes:
    said = {"role": "assistant", "content": "Yes"}
    choice = {"index": 0, "finish_reason": "stop", "delta" if stream else "message": said}
    answer = {"id": "c", "choices": [choice]}
    return _streamed(answer, "[DONE]") if stream else _document(answer)


def _responses_answer(*, stream: bool) -> bytes:
    part = {"type": "output_text", "text": "Yes", "annotations": []}
    item: Json = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [item]}
    if not stream:
        return _document(response)
    opened = {**response, "status": "in_progress", "output": []}
    place = {"output_index": 0, "content_index": 0}
    return _streamed(
        {"type": "response.created", "response": opened},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.output_text.delta", "delta": "Yes", **place},
        {"type": "response.completed", "response": response},
    )


def _messages_answer(*, stream: bool) -> bytes:
    block = {"type": "text", "text": "Yes"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    if not stream:
        whole_one = {"content": [block], "stop_reason": "end_turn", "usage": usage}
        return _document({**message, **whole_one})
    return _streamed(
        {"type": "message_start", "message": {**message, "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    )


def _document(document: dict[str, Any]) -> bytes:
    return whole(orjson.dumps(document), content_type="application/json")


def _streamed(*events: Any) -> bytes:
    frames = b"".join(_frame(event) for event in events)
    return chunked(frames, content_type="text/event-stream")


def _frame(event: Any) -> bytes:
    if isinstance(event, str):
        return b"data: %b\n\n" % event.encode()
    name = b"event: %b\n" % event["type"].encode() if "type" in event else b""
    return b"%bdata: %b\n\n" % (name, orjson.dumps(event))
