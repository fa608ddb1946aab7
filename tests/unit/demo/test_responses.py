"""The demo provider through the OpenAI SDK, Responses."""

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

WEATHER = {"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA}
TIME = {"type": "function", "name": "get_time", "parameters": TIME_SCHEMA}


async def create(client, said, **options):
    return await client.responses.create(model="demo-gpt", input=said, **options)


async def final(client, said, **options):
    """The final response as the SDK's helper collects it, which checks ids and order."""
    async with client.responses.stream(model="demo-gpt", input=said, **options) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_response()


async def test_a_stream_says_what_the_whole_answer_says(openai_client):
    whole = await create(openai_client, "Good morning", instructions="Be brief.")
    streamed = await final(openai_client, "Good morning", instructions="Be brief.")
    assert "openai-responses" in whole.output_text
    assert "“Good morning”" in whole.output_text
    assert "“Be brief.”" in whole.output_text
    assert streamed.output_text == whole.output_text
    assert streamed.usage == whole.usage


async def test_a_tool_is_called_and_its_result_quoted(openai_client):
    asked = {"role": "user", "content": "How is the weather in Paris?"}
    for ask in (create, final):
        answer = await ask(openai_client, [asked], tools=[WEATHER, TIME])
        [call] = answer.output
        assert json.loads(call.arguments) == {"city": "Paris", "unit": "celsius"}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
        history = [asked, call.model_dump(exclude_none=True, exclude={"parsed_arguments"}), result]
        assert "“18 degrees”" in (await ask(openai_client, history, tools=[WEATHER])).output_text


async def test_tools_are_called_in_parallel(openai_client):
    answer = await final(openai_client, "both in Rome", tools=[WEATHER, TIME])
    assert [item.name for item in answer.output] == ["get_weather", "get_time"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "name": "get_time"}, ["get_time"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [TIME]}, ["get_time"]),
    ],
)
async def test_tool_choice_is_obeyed(openai_client, choice, names):
    answer = await create(openai_client, "Hi in Rome", tools=[WEATHER, TIME], tool_choice=choice)
    assert [item.name for item in answer.output if item.type == "function_call"] == names


async def test_thinking_can_be_replayed(openai_client):
    options = {
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    streamed = await final(openai_client, "Why?", **options)
    reasoning, message = streamed.output
    assert "“Why?”" in reasoning.summary[0].text
    assert streamed.usage.output_tokens_details.reasoning_tokens > 0
    whole = await create(openai_client, "Why?", **options)
    assert whole.output[0].encrypted_content == reasoning.encrypted_content

    history = [
        {"role": "user", "content": "Why?"},
        reasoning.model_dump(exclude_none=True),
        {"role": "assistant", "content": message.content[0].text},
        {"role": "user", "content": "Go on"},
    ]
    assert "“Go on”" in (await create(openai_client, history)).output_text
    history[1]["encrypted_content"] = "Zm9yZWlnbg=="
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        await create(openai_client, history)


async def test_a_summary_is_not_told_unasked(openai_client):
    answer = await final(openai_client, "Why?", reasoning={"effort": "high"})
    assert answer.output[0].summary == []
    assert answer.output[0].encrypted_content is None


async def test_a_schema_is_filled(openai_client):
    form = {"type": "json_schema", "name": "person", "schema": PERSON_SCHEMA, "strict": True}
    answer = await create(openai_client, PERSON_PROMPT, text={"format": form})
    assert json.loads(answer.output_text) == PERSON


async def test_images_are_answered_with_their_sizes(openai_client):
    url = f"data:image/png;base64,{PNG_BASE64}"
    content = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": url}]
    answer = await create(openai_client, [{"role": "user", "content": content}])
    assert SEEN in answer.output_text


async def test_a_limit_makes_the_answer_incomplete(openai_client):
    answer = await create(openai_client, "long:100", max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"
    stream = await create(openai_client, "long:100", max_output_tokens=16, stream=True)
    *_, last = [event async for event in stream]
    assert last.type == "response.incomplete"
    assert last.response.usage == answer.usage


async def test_input_tokens_are_counted(openai_client):
    answer = await create(openai_client, "Count these four words")
    counted = await openai_client.responses.input_tokens.count(
        model="demo-gpt", input="Count these four words"
    )
    assert counted.input_tokens == answer.usage.input_tokens


async def test_it_fails_as_it_is_told(openai_client):
    with pytest.raises(openai.RateLimitError):
        await create(openai_client, "fail:429")
    stream = await create(openai_client, "fail:error", stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[-2:] == ["error", "response.failed"]
    stream = await create(openai_client, "fail:cut", stream=True)
    with pytest.raises(openai.APIConnectionError):
        _ = [event async for event in stream]


async def test_events_are_numbered_and_named(http):
    body = {"model": "demo-gpt-thinking", "input": "Hi", "stream": True}
    body["reasoning"] = {"summary": "auto"}
    headers = {"authorization": "Bearer k"}
    async with http.post("/v1/responses", json=body, headers=headers) as response:
        raw = await response.text()
    events = []
    for number, frame in enumerate(raw.split("\n\n")[:-1]):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert event["sequence_number"] == number
        assert name == f"event: {event['type']}"
        events.append(event["type"].removeprefix("response."))
    assert [kind for at, kind in enumerate(events) if kind != events[at - 1]] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def call(call_id):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "nope"}, "'nope' does not exist"),
        ({"input": None}, "'input'"),
        ({"messages": []}, "Unknown parameter: 'messages'"),
        ({"stop": ["x"]}, "Unknown parameter: 'stop'"),
        ({"max_output_tokens": 5}, "Expected a value >= 16, but got 5 instead"),
        ({"previous_response_id": "resp_1"}, "'resp_1' not found"),
        ({"input": [call("c")]}, "No tool output found for function call c"),
        ({"input": [OUTPUT]}, "No tool call found for function call output with call_id c"),
        ({"input": [call("c" * 65), OUTPUT]}, "string too long"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
            "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        ),
        ({"input": [{"type": "reasoning"}]}, "input[0].summary"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "'tools[0].name'"),
        ({"text": {"format": {"type": "json_object"}}}, "must contain the word 'json'"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ],
)
async def test_a_bad_request_is_refused_as_openai_would(http, body, words):
    body = {"model": "demo-gpt", "input": "Hi"} | body
    headers = {"authorization": "Bearer k"}
    async with http.post("/v1/responses", json=body, headers=headers) as response:
        error = (await response.json())["error"]
    assert response.status == 400
    assert words in error["message"]
