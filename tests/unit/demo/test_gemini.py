"""The demo provider through the Google Gen AI SDK."""

import json

import pytest
from google.genai import errors, types

from tests.unit.demo.samples import (
    PERSON,
    PERSON_PROMPT,
    PERSON_SCHEMA,
    PNG,
    SEEN,
    TIME_SCHEMA,
    WEATHER_SCHEMA,
)

# The SDK subclasses aiohttp's session, which aiohttp advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

TOOLS = [
    {
        "functionDeclarations": [
            {"name": "get_weather", "parametersJsonSchema": WEATHER_SCHEMA},
            {"name": "get_time", "parametersJsonSchema": TIME_SCHEMA},
        ]
    }
]
THOUGHTS = {"thinking_config": {"include_thoughts": True}}


async def create(client, contents, **config):
    config.setdefault("automatic_function_calling", {"disable": True})
    return await client.models.generate_content(
        model="demo-gemini", contents=contents, config=types.GenerateContentConfig(**config)
    )


async def streamed(client, contents, **config):
    config.setdefault("automatic_function_calling", {"disable": True})
    stream = await client.models.generate_content_stream(
        model="demo-gemini", contents=contents, config=types.GenerateContentConfig(**config)
    )
    return [chunk async for chunk in stream]


def parts(chunks):
    return [part for chunk in chunks for part in chunk.candidates[0].content.parts]


async def test_a_stream_says_what_the_whole_answer_says(gemini_client):
    whole = await create(gemini_client, "Good morning", system_instruction="Be brief.")
    chunks = await streamed(gemini_client, "Good morning", system_instruction="Be brief.")
    assert "gemini" in whole.text
    assert "“Good morning”" in whole.text
    assert "“Be brief.”" in whole.text
    assert "".join(part.text for part in parts(chunks)) == whole.text
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert all(chunk.candidates[0].finish_reason is None for chunk in chunks[:-1])


async def test_a_tool_is_called_and_its_result_quoted(gemini_client):
    asked = types.Content(role="user", parts=[types.Part(text="How is the weather in Paris?")])
    for chunks in (
        [await create(gemini_client, [asked], tools=TOOLS)],
        await streamed(gemini_client, [asked], tools=TOOLS),
        await streamed(gemini_client, [asked], tools=TOOLS, **THOUGHTS),
    ):
        [call] = [part.function_call for part in parts(chunks) if part.function_call]
        assert call.args == {"city": "Paris", "unit": "celsius"}
        assert chunks[-1].candidates[0].finish_reason == "STOP"
        response = types.FunctionResponse(
            id=call.id, name=call.name, response={"output": "18 degrees"}
        )
        history = [
            asked,
            chunks[-1].candidates[0].content,
            types.Content(role="user", parts=[types.Part(function_response=response)]),
        ]
        assert "“18 degrees”" in (await create(gemini_client, history, tools=TOOLS)).text


async def test_tools_are_called_in_parallel_and_the_first_is_signed(gemini_client):
    chunks = await streamed(gemini_client, "both in Rome", tools=TOOLS, **THOUGHTS)
    calls = [part for part in parts(chunks) if part.function_call]
    assert [part.function_call.name for part in calls] == ["get_weather", "get_time"]
    assert [bool(part.thought_signature) for part in calls] == [True, False]


@pytest.mark.parametrize(
    ("mode", "names"), [("NONE", []), ("ANY", ["get_weather"]), ("VALIDATED", ["get_weather"])]
)
async def test_the_calling_mode_is_obeyed(gemini_client, mode, names):
    config = {"function_calling_config": {"mode": mode}}
    answer = await create(gemini_client, "Hi in Rome", tools=TOOLS, tool_config=config)
    assert [call.name for call in answer.function_calls or []] == names


async def test_only_allowed_functions_are_called(gemini_client):
    config = {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_time"]}}
    answer = await create(gemini_client, "Hi in Rome", tools=TOOLS, tool_config=config)
    assert [call.name for call in answer.function_calls] == ["get_time"]


async def test_thoughts_are_told_apart_and_counted(gemini_client):
    chunks = await streamed(gemini_client, "Why?", **THOUGHTS)
    assert "“Why?”" in "".join(part.text for part in parts(chunks) if part.thought)
    usage = chunks[-1].usage_metadata
    assert usage.thoughts_token_count > 0
    total = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == total
    hidden = await create(gemini_client, "Why?", thinking_config={"thinking_budget": 500})
    assert hidden.usage_metadata.thoughts_token_count == usage.thoughts_token_count
    assert not any(part.thought for part in parts([hidden]))


async def test_a_schema_is_filled(gemini_client):
    answer = await create(
        gemini_client,
        PERSON_PROMPT,
        response_mime_type="application/json",
        response_json_schema=PERSON_SCHEMA,
    )
    assert json.loads(answer.text) == PERSON


async def test_images_are_answered_with_their_sizes(gemini_client):
    image = types.Part.from_bytes(data=PNG, mime_type="image/png")
    assert SEEN in (await create(gemini_client, ["What is it?", image])).text


async def test_stop_and_limit_end_the_answer(gemini_client):
    stopped = await create(gemini_client, "Hi", stop_sequences=["demo model"])
    assert stopped.text == "Hello! This is demo-gemini, a "
    limited = await create(gemini_client, "Hi", max_output_tokens=3)
    assert limited.text == "Hello! This is"
    assert limited.candidates[0].finish_reason == "MAX_TOKENS"


async def test_tokens_are_counted(gemini_client):
    answer = await create(gemini_client, "Count these four words")
    counted = await gemini_client.models.count_tokens(
        model="demo-gemini", contents="Count these four words"
    )
    assert counted.total_tokens == answer.usage_metadata.prompt_token_count


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
    ],
)
async def test_it_fails_as_it_is_told(gemini_client, status, name):
    with pytest.raises(errors.APIError) as caught:
        await create(gemini_client, f"fail:{status}")
    assert (caught.value.code, caught.value.status) == (status, name)


async def test_a_stream_breaks_after_a_few_words(gemini_client):
    with pytest.raises(errors.ServerError, match="overloaded"):
        await streamed(gemini_client, "fail:error")
    with pytest.raises(Exception, match=r"not completed|incomplete"):
        await streamed(gemini_client, "fail:cut")


async def test_texts_are_embedded(gemini_client, openai_client):
    answer = await gemini_client.models.embed_content(
        model="demo-gemini-embedding",
        contents=[types.UserContent("same"), types.UserContent("other")],
    )
    same, other = (embedding.values for embedding in answer.embeddings)
    assert same != other
    for encoding in ("float", "base64"):
        again = await openai_client.embeddings.create(
            model="demo-embedding", input="same", encoding_format=encoding
        )
        assert again.usage.prompt_tokens == 1
    by_default = await openai_client.embeddings.create(model="demo-embedding", input="same")
    assert by_default.data[0].embedding == pytest.approx(same, abs=1e-6)


HEADERS = {"x-goog-api-key": "k"}
HELLO = {"contents": [{"parts": [{"text": "Hi"}]}]}


async def test_events_are_separated_by_crlf(http):
    url = "/v1beta/models/demo-gemini:streamGenerateContent?alt=sse"
    async with http.post(url, json=HELLO, headers=HEADERS) as response:
        raw = await response.read()
    assert response.content_type == "text/event-stream"
    assert raw.endswith(b"}\r\n\r\n")
    assert all(frame.startswith(b"data: {") for frame in raw.split(b"\r\n\r\n")[:-1])


async def test_a_stream_without_sse_is_one_array(http):
    url = "/v1beta/models/demo-gemini:streamGenerateContent"
    async with http.post(url, json=HELLO, headers=HEADERS) as response:
        chunks = await response.json()
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_field_names_may_be_in_snake_case(http):
    declaration = {"name": "now", "parameters_json_schema": TIME_SCHEMA}
    body = HELLO | {"tools": [{"function_declarations": [declaration]}]}
    url = "/v1beta/models/demo-gemini:generateContent"
    async with http.post(url, json=body, headers=HEADERS) as response:
        answer = await response.json()
    assert answer["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "now"


def content(role, *parts):
    return {"role": role, "parts": list(parts)}


ASK = content("user", {"text": "a"})
CALL = {"functionCall": {"name": "f", "args": {}}}
NAMED = {"functionCall": {"id": "1", "name": "f", "args": {}}}
RESPONSE = {"functionResponse": {"name": "f", "response": {"output": "x"}}}
OTHER = {"functionResponse": {"id": "2", "name": "f", "response": {"output": "x"}}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"contents": []}, "contents is not specified"),
        ({"contents": [content("assistant", {"text": "x"})]}, "Please use a valid role"),
        ({"contents": [content("user")]}, "must not be empty"),
        ({"contents": [content("user", {"thought": True})]}, "one initialized field"),
        ({"contents": [ASK, content("user", RESPONSE)]}, "immediately after a function call turn"),
        ({"contents": [content("model", CALL)]}, "immediately after a user turn"),
        (
            {"contents": [ASK, content("model", CALL, CALL), content("user", RESPONSE)]},
            "number of function response parts is equal",
        ),
        ({"contents": [ASK, content("model", CALL), ASK]}, "number of function response parts"),
        ({"contents": [ASK, content("model", NAMED), content("user", OTHER)]}, "ids match"),
        ({"messages": []}, 'Unknown name "messages": Cannot find field.'),
        (
            {"generationConfig": {"max_tokens": 3}},
            "Unknown name \"max_tokens\" at 'generationConfig'",
        ),
        ({"generationConfig": {"responseJsonSchema": {"type": "string"}}}, "mime type"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "without function_declarations",
        ),
        (
            {"contents": [content("user", {"text": "a", "thoughtSignature": "Zm9yZWlnbg=="})]},
            "Thought signature is not valid",
        ),
    ],
)
async def test_a_bad_request_is_refused_as_gemini_would(http, body, words):
    url = "/v1beta/models/demo-gemini:generateContent"
    async with http.post(url, json=HELLO | body, headers=HEADERS) as response:
        answer = await response.json()
    assert response.status == 400
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert words in answer["error"]["message"]


async def test_a_result_needs_no_id(http):
    url = "/v1beta/models/demo-gemini:generateContent"
    history = {"contents": [ASK, content("model", NAMED), content("user", RESPONSE)]}
    async with http.post(url, json=history, headers=HEADERS) as response:
        assert response.status == 200


async def test_an_unknown_model_is_not_found(http):
    url = "/v1beta/models/gemini-none:generateContent"
    async with http.post(url, json=HELLO, headers=HEADERS) as response:
        assert response.status == 404
        assert "models/gemini-none is not found" in (await response.json())["error"]["message"]


async def test_a_key_is_required(http):
    url = "/v1beta/models/demo-gemini:generateContent"
    for headers, query, status in (({}, "", 403), ({}, "?key=k", 200), (HEADERS, "", 200)):
        async with http.post(url + query, json=HELLO, headers=headers) as response:
            assert response.status == status
