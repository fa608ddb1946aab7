"""The demo provider through the OpenAI SDK, Chat Completions."""

import json

import openai
import pytest

from tests.unit.demo.samples import (
    PERSON,
    PERSON_PROMPT,
    PERSON_SCHEMA,
    PNG_BASE64,
    SEEN,
    TIME_SCHEMA,
    WEATHER_SCHEMA,
)

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": TIME_SCHEMA}}


def user(text):
    return {"role": "user", "content": text}


async def create(client, *messages, **options):
    options.setdefault("model", "demo-chat")
    return await client.chat.completions.create(messages=list(messages), **options)


async def collect(stream, said):
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")
        assert chunk.choices[0].finish_reason is None


async def test_a_plain_prompt_is_answered_with_its_last_words(openai_client):
    answer = await create(
        openai_client, {"role": "system", "content": "Be brief."}, user("Good morning to you")
    )
    text = answer.choices[0].message.content
    assert "demo-chat" in text
    assert "openai-chat" in text
    assert "“Good morning to you”" in text
    assert "“Be brief.”" in text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_stream_says_what_the_whole_answer_says(openai_client):
    whole = await create(openai_client, user("Hello, stream"))
    async with openai_client.chat.completions.stream(
        model="demo-chat", messages=[user("Hello, stream")], stream_options={"include_usage": True}
    ) as stream:
        async for _ in stream:
            pass
        streamed = await stream.get_final_completion()
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.usage == whole.usage


async def test_a_stream_tells_its_usage_only_when_asked(openai_client):
    stream = await create(openai_client, user("Hi"), stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_a_tool_is_called_and_its_result_quoted(openai_client):
    asked = user("How is the weather in Paris?")
    answer = await create(openai_client, asked, tools=[WEATHER, TIME])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    [call] = message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris", "unit": "celsius"}

    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    final = await create(openai_client, asked, message.model_dump(), result, tools=[WEATHER, TIME])
    assert "“18 degrees”" in final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


async def test_tools_stream_in_parallel(openai_client):
    asked = user("Use both get_weather and get_time for Paris")
    async with openai_client.chat.completions.stream(
        model="demo-chat", messages=[asked], tools=[WEATHER, TIME]
    ) as stream:
        async for _ in stream:
            pass
        message = (await stream.get_final_completion()).choices[0].message
    calls = [
        (call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls
    ]
    assert calls == [
        ("get_weather", {"city": "Paris", "unit": "celsius"}),
        ("get_time", {"city": "Paris"}),
    ]


async def test_one_tool_named_for_both_cities_is_called_twice(openai_client):
    asked = user("Get the weather in both Paris and London")
    answer = await create(openai_client, asked, tools=[WEATHER])
    calls = answer.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "London"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TIME]}},
            ["get_time"],
        ),
    ],
)
async def test_tool_choice_is_obeyed(openai_client, choice, names):
    answer = await create(
        openai_client, user("Hello in Rome"), tools=[WEATHER, TIME], tool_choice=choice
    )
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == names


async def test_a_call_forced_by_name_ends_like_any_other_answer(openai_client):
    choice = {"type": "function", "function": {"name": "get_time"}}
    answer = await create(openai_client, user("Hi"), tools=[TIME], tool_choice=choice)
    assert answer.choices[0].finish_reason == "stop"


async def test_parallel_calls_can_be_forbidden(openai_client):
    answer = await create(
        openai_client, user("both in Rome"), tools=[WEATHER, TIME], parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls) == 1


async def test_images_are_answered_with_their_sizes(openai_client):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_BASE64}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]
    answer = await create(openai_client, {"role": "user", "content": content})
    text = answer.choices[0].message.content
    assert SEEN in text
    assert "the URL https://example.com/cat.png" in text


async def test_reasoning_comes_before_the_answer_and_is_counted(openai_client):
    answer = await create(openai_client, user("Why?"), reasoning_effort="low")
    assert "“Why?”" in answer.choices[0].message.reasoning_content
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0

    stream = await create(openai_client, user("Why?"), model="demo-chat-thinking", stream=True)
    kinds = [set(chunk.choices[0].delta.model_dump(exclude_unset=True)) async for chunk in stream]
    assert kinds[1] == {"reasoning_content"}
    assert kinds[-2] == {"content"}


async def test_a_thinking_model_can_be_told_not_to(openai_client):
    answer = await create(
        openai_client, user("Why?"), model="demo-chat-thinking", reasoning_effort="none"
    )
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


async def test_a_schema_is_filled(openai_client):
    schema = {"name": "person", "schema": PERSON_SCHEMA, "strict": True}
    answer = await create(
        openai_client,
        user(PERSON_PROMPT),
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert json.loads(answer.choices[0].message.content) == PERSON


async def test_json_mode_answers_an_object(openai_client):
    answer = await create(
        openai_client, user("Hello as json"), response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content)["said"] == "Hello as json"


async def test_stop_and_limit_end_the_answer(openai_client):
    stopped = await create(openai_client, user("Hi"), stop=["demo model"])
    assert stopped.choices[0].message.content == "Hello! This is demo-chat, a "
    assert stopped.choices[0].finish_reason == "stop"
    limited = await create(openai_client, user("Hi"), max_completion_tokens=3)
    assert limited.choices[0].message.content == "Hello! This is"
    assert limited.choices[0].finish_reason == "length"
    assert limited.usage.completion_tokens == 3


async def test_several_choices_are_numbered(openai_client):
    answer = await create(openai_client, user("Hi"), n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


async def test_an_ordered_length_is_kept(openai_client):
    answer = await create(openai_client, user("long:200"))
    assert len(answer.choices[0].message.content.split()) == 200


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
async def test_it_fails_as_it_is_told(openai_client, status, error):
    with pytest.raises(error) as caught:
        await create(openai_client, user(f"Please fail:{status} now"), stream=True)
    assert caught.value.status_code == status
    assert caught.value.response.headers.get("retry-after") == ("2" if status == 429 else None)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("order", "error"), [("cut", openai.APIConnectionError), ("error", openai.APIError)]
)
async def test_a_stream_breaks_after_a_few_words(openai_client, order, error):
    stream = await create(openai_client, user(f"fail:{order}"), stream=True)
    said: list[str] = []
    with pytest.raises(error):
        await collect(stream, said)
    assert "".join(said) == "Hello! This is demo-chat, a"


async def test_a_whole_answer_breaks_too(openai_client):
    with pytest.raises(openai.APIConnectionError):
        await create(openai_client, user("fail:cut"))
    with pytest.raises(openai.InternalServerError):
        await create(openai_client, user("fail:error"))


CALL = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "noon"}
LOOSE = {"name": "x", "strict": True, "schema": {"type": "object", "properties": {"a": {}}}}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": None}, 400, "model"),
        ({"model": "gpt-nothing"}, 404, "gpt-nothing"),
        ({"messages": None}, 400, "Missing required parameter: 'messages'"),
        ({"messages": []}, 400, "empty array"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [user("a"), RESULT]}, 400, "must be a response to a preceding message"),
        ({"messages": [user("a"), CALLS]}, 400, "did not have response messages: call_1"),
        ({"messages": [user("a"), CALLS, user("b"), RESULT]}, 400, "did not have response"),
        ({"messages": [user("a"), CALLS, RESULT, RESULT]}, 400, "not found in 'tool_calls'"),
        ({"messages": [{"role": "assistant", "content": None}]}, 400, "messages[0].content"),
        ({"messages": [user([{"type": "input_text", "text": "x"}])]}, 400, "content[0].type"),
        ({"messages": [user([{"type": "image_url", "image_url": {"url": "x"}}])]}, 400, "base64"),
        ({"top_k": 3}, 400, "Unknown parameter: 'top_k'"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 400, "at the same time"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"temperature": 3}, 400, "temperature"),
        ({"reasoning_effort": "max"}, 400, "reasoning_effort"),
        ({"tool_choice": "auto"}, 400, "only allowed when 'tools' are specified"),
        ({"tools": [{"type": "function", "name": "flat"}]}, 400, "tools[0].function"),
        ({"response_format": {"type": "json_object"}}, 400, "must contain the word 'json'"),
        (
            {"response_format": {"type": "json_schema", "json_schema": LOOSE}},
            400,
            "'additionalProperties' is required",
        ),
    ],
)
async def test_a_bad_request_is_refused_as_openai_would(http, body, status, words):
    body = {"model": "demo-chat", "messages": [user("Hi")]} | body
    headers = {"authorization": "Bearer k"}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
        error = (await response.json())["error"]
    assert response.status == status
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"x-api-key": "k"}])
async def test_a_key_must_be_a_bearer_token(http, headers):
    async with http.post("/v1/chat/completions", json={}, headers=headers) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


async def test_the_stream_is_data_lines_and_done(http):
    body = {"model": "demo-chat", "messages": [user("Hi")], "stream": True}
    headers = {"authorization": "Bearer k"}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
        raw = await response.read()
    assert response.content_type == "text/event-stream"
    *frames, done, end = raw.split(b"\n\n")
    assert all(json.loads(frame.removeprefix(b"data: "))["choices"] for frame in frames)
    assert (done, end) == (b"data: [DONE]", b"")
