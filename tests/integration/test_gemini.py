"""Gemini's own clients, in front of scripted upstreams of every dialect: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    KEY,
    SECRET,
    Gateway,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Cut, Scripted, whole
from tests.integration.wire import Answered, request

TRANSLATED = [dialect for dialect in DIALECTS if dialect != "gemini"]
OFTEN = 'heartbeat = "30ms"'


def contents(said: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": said}]}], **fields}


async def ask(
    front: Gateway, body: object = None, *, method: str = "generateContent", model: str = "up/m"
) -> Answered:
    path = f"/v1beta/models/{model}:{method}"
    return await front.post(path, contents() if body is None else body)


async def ask_stream(front: Gateway, body: object = None, *, array: bool = False) -> Answered:
    method = "streamGenerateContent" if array else "streamGenerateContent?alt=sse"
    return await ask(front, body, method=method)


def chunks_of(answered: Answered) -> list[dict[str, Any]]:
    """Return the chunks of a stream in either framing, having checked that there is nothing else."""
    if answered.headers["content-type"].startswith("application/json"):
        found = answered.json
        assert isinstance(found, list)
        return found
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    for frame in answered.frames:
        assert frame.startswith(b"data: {")
        assert b"\n" not in frame
    return answered.data


def text_of(chunks: list[dict[str, Any]]) -> str:
    candidates = [one for chunk in chunks for one in chunk.get("candidates", ())]
    parts = [part for one in candidates for part in one["content"]["parts"]]
    return "".join(part.get("text", "") for part in parts)


# Every upstream.


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_question_is_answered(dialect, version):
    async with in_front_of([spoken.told(dialect)], dialect) as (front, _):
        path = f"/{version}/models/up/m:generateContent"
        answered = await front.post(path, contents())
        line = await front.last()
    assert answered.status == 200
    (candidate,) = answered.json["candidates"]
    assert candidate["content"] == {"role": "model", "parts": [{"text": "Hello"}]}
    assert candidate["finishReason"] == "STOP"
    usage = answered.json["usageMetadata"]
    assert usage["promptTokenCount"] == spoken.INPUT + spoken.CACHED
    assert usage["cachedContentTokenCount"] == spoken.CACHED
    assert usage["totalTokenCount"] == spoken.INPUT + spoken.CACHED + spoken.OUTPUT
    assert answered.json["modelVersion"] == ("m" if dialect == "gemini" else "up/m")
    assert answered.json["responseId"]
    assert (line["dialect"], line["model"], line["upstream_model"]) == ("gemini", "up/m", "m")
    counted = (line["input_tokens"], line["cache_read_tokens"], line["output_tokens"])
    assert counted == (spoken.INPUT, spoken.CACHED, spoken.OUTPUT)


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answer_is_streamed(dialect, array):
    async with in_front_of([spoken.streamed(dialect, "He", "llo")], dialect) as (front, _):
        answered = await ask_stream(front, array=array)
        line = await front.last()
    chunks = chunks_of(answered)
    assert text_of(chunks[:-1]) == "Hello"
    last = chunks[-1]
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"]["candidatesTokenCount"] == spoken.OUTPUT
    assert (line["stream"], line["status"], line["output_tokens"]) == (True, 200, spoken.OUTPUT)


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_nothing_is_sent_before_the_first_chunk_or_between_two(dialect, array):
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata(dialect)))
        await asyncio.sleep(0.2)
        writer.write(spoken.chunk(spoken.text(dialect, "He")))
        await asyncio.sleep(0.2)
        await go_on.wait()
        writer.write(spoken.chunk(spoken.more(dialect, "llo") + spoken.end(dialect)) + spoken.LAST)

    async with in_front_of(script, dialect, streaming=OFTEN) as (front, _):
        wire = await front.wire()
        suffix = "" if array else "?alt=sse"
        wire.send(
            request(
                "POST",
                f"/v1beta/models/up/m:streamGenerateContent{suffix}",
                json.dumps(contents()).encode(),
                authorization=BEARER,
            )
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await wire.reader.readexactly(1)
        status, _ = await wire.head()
        first = await wire.chunk()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await wire.reader.readexactly(1)
        go_on.set()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
    assert (status, b"He" in first) == (200, True)
    assert b"keep-alive" not in first + rest


@pytest.mark.parametrize("dialect", TRANSLATED)
async def test_a_call_and_its_result_are_told_in_the_upstreams_words(dialect):
    tool = {
        "name": "get_weather",
        "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
    }
    call = {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}}
    result = {"functionResponse": {"name": "get_weather", "response": {"output": "rain"}}}
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [call]},
            {"role": "user", "parts": [result]},
        ],
        "tools": [{"function_declarations": [tool]}],
        "system_instruction": {"parts": {"text": "Be brief."}},
    }
    async with in_front_of([spoken.streamed(dialect)], dialect) as (front, up):
        assert (await ask_stream(front, body)).status == 200
    sent = up.requests[0].body.decode()
    assert "rain" in sent
    assert "Be brief." in sent
    assert '"type":"object"' in sent
    assert "OBJECT" not in sent


# Gemini's own.


@pytest.mark.parametrize("stream", [False, True])
async def test_google_gets_the_clients_bytes_and_the_accounts_key(stream):
    body = b'{ "contents": [{"parts": [{"text": "gr\xc3\xbc\xc3\x9fe"}]}],\n "x": 1e2 }'
    script = [spoken.streamed("gemini") if stream else spoken.told("gemini")]
    async with in_front_of(script, "gemini") as (front, up):
        method = "streamGenerateContent" if stream else "generateContent"
        wire = await front.wire()
        answered = await wire.post(f"/v1/models/up/m:{method}?key={KEY}&alt=sse", body)
    assert answered.status == 200
    (asked,) = up.requests
    assert asked.body == body
    assert asked.target == f"/v1beta/models/m:{method}" + ("?alt=sse" if stream else "")
    assert asked.headers["x-goog-api-key"] == SECRET
    assert KEY not in str(asked)


async def test_the_chunks_of_a_spliced_stream_keep_their_bytes():
    chunk = b'{"candidates": [{"content": {"parts": [{"text": "\\u00e9"}]}, "finishReason": 1}],  "x": 1.50}'
    script = [spoken.HEAD + spoken.chunk(b"data: " + chunk + b"\r\n\r\n") + spoken.LAST]
    async with in_front_of(script, "gemini") as (front, _):
        events = await ask_stream(front)
        array = await ask_stream(front, array=True)
    assert events.body == b"data: " + chunk + b"\n\n"
    assert array.body == b"[" + chunk + b"]"


async def test_a_whole_answer_of_google_keeps_its_bytes():
    document = json.dumps(spoken.document("gemini"), indent=2).encode()
    async with in_front_of([whole(document, **spoken.JSON)], "gemini") as (front, _):
        answered = await ask(front)
    assert answered.body == document


async def test_a_seal_of_another_provider_does_not_reach_google():
    seal = base64.b64encode(b"gw1:oai:opaque").decode()
    part = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": seal}
    body = {"contents": [{"role": "model", "parts": [part]}]}
    async with in_front_of([spoken.told("gemini")], "gemini") as (front, up):
        await ask(front, body)
    (sent,) = json.loads(up.requests[0].body)["contents"][0]["parts"]
    assert sent["thoughtSignature"] == "skip_thought_signature_validator"


async def test_a_models_settings_reach_google_where_it_reads_them():
    model = '[[models]]\nname = "set"\ntargets = ["up/m"]\ndefaults = { temperature = 0.25, max_tokens = 5 }\n'
    async with (
        Scripted([spoken.told("gemini")]) as up,
        gateway(config_text(upstream(up.url, "gemini"), model)) as front,
    ):
        await ask(front, contents(generation_config={"temperature": 1}), model="set")
    sent = json.loads(up.requests[0].body)
    assert sent["generation_config"] == {"temperature": 1, "maxOutputTokens": 5}


# Thinking, there and back.


async def test_thinking_that_another_provider_sealed_comes_back_to_it():
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2VhbA=="}
    document = {
        **spoken.document("anthropic"),
        "content": [thought, use],
        "stop_reason": "tool_use",
    }
    script = [whole(json.dumps(document).encode(), **spoken.JSON)]
    tools = [{"functionDeclarations": [{"name": "f"}]}]
    thinking = {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000}}
    asked = contents(tools=tools, generationConfig={**thinking, "maxOutputTokens": 4000})
    async with in_front_of(script, "anthropic") as (front, up):
        answered = await ask(front, asked)
        said = answered.json["candidates"][0]["content"]
        call = next(part for part in said["parts"] if "functionCall" in part)
        assert base64.b64decode(call["thoughtSignature"]).startswith(b"gw1:ant:")
        result = {"functionResponse": {"id": "toolu_1", "name": "f", "response": {"output": "1"}}}
        history = [*asked["contents"], said, {"role": "user", "parts": [result]}]
        await ask(front, {**asked, "contents": history})
        # A client that keeps the bare call is helped out from memory.
        history[1] = {"role": "model", "parts": [{"functionCall": call["functionCall"]}]}
        await ask(front, {**asked, "contents": history})
    for sent in up.requests[1:]:
        blocks = json.loads(sent.body)["messages"][1]["content"]
        assert thought in blocks
        assert [block["type"] for block in blocks][-1] == "tool_use"


# Refusals.


async def test_both_ways_to_give_a_key_and_none_at_all():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        path = "/v1beta/models/up/m:generateContent"
        header = await (await front.wire()).post(path, contents(), x_goog_api_key=KEY)
        query = await (await front.wire()).post(f"{path}?key={KEY}", contents())
        nothing = await (await front.wire()).post(path, contents())
        lines = await front.requests(3)
    assert (header.status, query.status) == (200, 200)
    assert (nothing.status, nothing.error["code"]) == (401, 401)
    assert nothing.error["status"] == "UNAUTHENTICATED"
    assert KEY not in json.dumps(lines)


@pytest.mark.parametrize(
    ("status", "told", "word"),
    [
        ("400 Bad Request", 400, "INVALID_ARGUMENT"),
        ("401 Unauthorized", 502, "INTERNAL"),
        ("404 Not Found", 404, "NOT_FOUND"),
        ("429 Too Many Requests", 429, "RESOURCE_EXHAUSTED"),
        ("500 Internal Server Error", 502, "INTERNAL"),
        ("503 Service Unavailable", 503, "UNAVAILABLE"),
        ("504 Gateway Timeout", 504, "DEADLINE_EXCEEDED"),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_an_upstream_refuses_is_told_in_googles_words(dialect, status, told, word):
    script = [whole(b'{"error": {"message": "no"}}', status, content_type="application/json")]
    async with in_front_of(script, dialect, retry='queue_timeout = "0s"') as (front, _):
        answered = await ask_stream(front, array=True)
    assert (answered.status, answered.headers["content-type"]) == (told, "application/json")
    if (dialect, told) == ("gemini", 400):
        # Between equal dialects the upstream's own words about the request are the client's.
        assert answered.json == {"error": {"message": "no"}}
    else:
        assert (answered.error["code"], answered.error["status"]) == (told, word)
    if told == 429:
        (detail,) = answered.error["details"]
        assert detail["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
        assert detail["retryDelay"] == f"{answered.headers['retry-after']}s"


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_is_cut_ends_in_an_error(dialect, array):
    script = [
        spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He")),
        Cut(),
    ]
    async with in_front_of(script, dialect) as (front, _):
        answered = await ask_stream(front, array=array)
        line = await front.last()
    *said, last = chunks_of(answered)
    assert any("He" in json.dumps(one) for one in said)
    assert (last["error"]["code"], last["error"]["status"]) == (502, "INTERNAL")
    assert line["error_type"] == "truncated"


async def test_a_field_that_is_wrong_is_named():
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        answered = await ask(front, contents(generationConfig={"candidateCount": 99}))
        unread = await ask(front, contents(tools=[{"codeExecution": {}}]))
        nothing = await ask(front, {})
    assert up.requests == []
    assert [one.error["status"] for one in (answered, unread, nothing)] == ["INVALID_ARGUMENT"] * 3
    assert "`generationConfig.candidateCount`" in answered.error["message"]
    assert "`tools[0].codeExecution`" in unread.error["message"]
    assert "`contents`" in nothing.error["message"]
    (detail,) = unread.error["details"]
    assert detail["fieldViolations"][0]["field"] == "tools[0].codeExecution"


async def test_what_is_dropped_is_named():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        answered = await ask(front, contents(safetySettings=[], generationConfig={"topK": 3}))
    assert answered.headers["x-splice-dropped"] == "generationConfig.topK,safetySettings"


async def test_a_blocked_prompt_is_told_as_google_tells_it():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "m"}
    script = [spoken.HEAD + spoken.chunk(spoken.data(blocked)) + spoken.LAST]
    async with in_front_of(script, "gemini") as (front, _):
        (chunk,) = chunks_of(await ask_stream(front))
        line = await front.last()
    assert chunk == blocked
    assert (line["status"], line["input_tokens"], line["output_tokens"]) == (200, 0, 0)


async def test_a_key_is_held_to_its_limits_and_its_models():
    key = '[[keys]]\nname = "limited"\nkey = "sk-limited"\nmodels = ["up/m"]\nrpm = 1\n'
    async with (
        Scripted([spoken.told("gemini")]) as up,
        gateway(config_text(upstream(up.url, "gemini"), key)) as front,
    ):
        wire = await front.wire()
        path = "/v1beta/models/up/{}:generateContent"
        other = await wire.post(path.format("x"), contents(), x_goog_api_key="sk-limited")
        first = await wire.post(path.format("m"), contents(), x_goog_api_key="sk-limited")
        again = await wire.post(path.format("m"), contents(), x_goog_api_key="sk-limited")
    assert (other.status, other.error["status"]) == (403, "PERMISSION_DENIED")
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "0")
    assert (again.status, again.error["status"]) == (429, "RESOURCE_EXHAUSTED")


async def test_another_account_answers_where_the_first_one_failed():
    failing = whole(b"{}", "503 Service Unavailable", **spoken.JSON)
    model = '[[models]]\nname = "both"\ntargets = ["a/m", "b/m"]\n'
    async with (
        Scripted([failing]) as a,
        Scripted([spoken.streamed("anthropic", "Hello")]) as b,
        gateway(
            config_text(upstream(a.url, "gemini", "a"), upstream(b.url, "anthropic", "b"), model)
        ) as front,
    ):
        path = "/v1beta/models/both:streamGenerateContent?alt=sse"
        answered = await front.post(path, contents())
    assert text_of(chunks_of(answered)[:-1]) == "Hello"
    assert (len(a.requests), len(b.requests)) == (1, 1)


# Counting and lists.


async def test_tokens_are_counted_by_whoever_can():
    async with in_front_of([whole(b'{"totalTokens": 5}')], "gemini") as (front, up):
        answered = await ask(front, method="countTokens")
        wrapped = await ask(
            front,
            {"generateContentRequest": {**contents(), "model": "models/up/m"}},
            method="countTokens",
        )
        lines = await front.requests(2)
    assert answered.json == wrapped.json == {"totalTokens": 5}
    assert json.loads(up.requests[0].body) == contents()
    asked = json.loads(up.requests[1].body)["generateContentRequest"]
    assert asked == {**contents(), "model": "models/m"}
    assert [line["cost_usd"] for line in lines] == [0, 0]


async def test_tokens_are_estimated_where_nobody_counts():
    async with in_front_of([], "openai-chat") as (front, _):
        answered = await ask(front, contents("four words and more"), method="countTokens")
    assert answered.json.keys() == {"totalTokens"}
    assert 5 <= answered.json["totalTokens"] <= 12


@pytest.mark.parametrize("path", ["/v1/models", "/v1beta/models"])
async def test_models_are_listed_as_google_lists_them(path):
    tables = '[[models]]\nname = "one"\ntargets = ["up/m"]\n'
    async with gateway(config_text(upstream("http://127.0.0.1:9"), tables)) as front:
        listed = await front.get(path, x_goog_api_key=KEY)
        one = await front.get(f"{path}/one", x_goog_api_key=KEY)
        nobody = await front.get("/v1beta/models/none")
    assert listed.json["models"] == [one.json]
    assert one.json["name"] == "models/one"
    assert (nobody.status, nobody.error["status"]) == (404, "NOT_FOUND")


async def test_the_metrics_know_no_more_routes_than_there_are():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        await ask(front)
        await ask(front, model="no/such")
        requests = front.running.gateway.means.metrics.requests
        assert {labels[0] for labels in requests.values} == {"/v1beta/models/{id}:generateContent"}
