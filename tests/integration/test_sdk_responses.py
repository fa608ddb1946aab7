"""OpenAI's own SDK on its Responses endpoint against every upstream dialect, over real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from tests.integration import spoken
from tests.integration.gateway import DIALECTS, in_front_of
from tests.integration.scripted import Cut
from tests.integration.sdk import MODELS, PIXEL, OpenAI, demo_gateway, drain

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": False,
}
NOW = {
    "type": "function",
    "name": "now",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
ENCRYPTED = ["reasoning.encrypted_content"]


@pytest_asyncio.fixture
async def front():
    async with demo_gateway() as running:
        yield running


@pytest_asyncio.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(front, request):
    made = OpenAI(front, asynchronous=request.param)
    yield made
    await made.close()


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request) -> str:
    return str(request.param)


async def create(sdk: OpenAI, **fields: Any) -> Any:
    return await sdk.call(sdk.client.responses.create, store=False, **fields)


async def events_of(sdk: OpenAI, **fields: Any) -> list[Any]:
    return await drain(sdk, sdk.client.responses.create, stream=True, store=False, **fields)


async def helped(sdk: OpenAI, **fields: Any) -> tuple[list[Any], Any]:
    """Return the events of the SDK's own stream, which checks their order and their ids, and the response that it puts together."""
    made = sdk.client.responses.stream(store=False, **fields)
    if sdk.asynchronous:
        async with made as stream:
            events = [event async for event in stream]
            return events, await stream.get_final_response()

    def run() -> tuple[list[Any], Any]:
        with made as stream:
            return list(stream), stream.get_final_response()

    return await asyncio.to_thread(run)


async def test_a_question_is_answered(sdk, model):
    answer = await create(sdk, model=model, input="Good morning", instructions="Be kind to all.")
    assert "Good morning" in answer.output_text
    assert "Be kind to all." in answer.output_text
    assert (answer.status, answer.object, answer.id.startswith("resp_")) == (
        "completed",
        "response",
        True,
    )
    assert answer.usage.input_tokens > 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer._request_id.startswith("req_")


async def test_a_stream_says_what_the_whole_answer_says(sdk, model):
    whole = await create(sdk, model=model, input="Good morning")
    events, final = await helped(sdk, model=model, input="Good morning")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text == final.output_text
    assert len(deltas) > 5
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert final.usage == whole.usage
    raw = await events_of(sdk, model=model, input="Good morning")
    assert [event.type for event in raw] == [event.type for event in events]


async def test_the_limit_of_tokens_is_kept(sdk, model):
    answer = await create(sdk, model=model, input="long:500", max_output_tokens=16)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens <= 16


async def test_tokens_are_counted(sdk, model):
    counted = await sdk.call(
        sdk.client.responses.input_tokens.count, model=model, input="Good morning"
    )
    assert counted.object == "response.input_tokens"
    assert 0 < counted.input_tokens < 20


async def called(sdk: OpenAI, *, streamed: bool, **fields: Any) -> Any:
    if streamed:
        return (await helped(sdk, **fields))[1]
    return await create(sdk, **fields)


def calls_of(answer: Any) -> list[Any]:
    return [item for item in answer.output if item.type == "function_call"]


def returned(*results: tuple[Any, str]) -> list[dict[str, Any]]:
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": said}
        for call, said in results
    ]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_is_answered(sdk, model, streamed):
    asked: list[Any] = [{"role": "user", "content": "Please get_weather for Paris"}]
    answer = await called(sdk, streamed=streamed, model=model, input=asked, tools=[WEATHER])
    (call,) = calls_of(answer)
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    # As everybody does: what came back goes in again, as it is.
    history = [*asked, *answer.output, *returned((call, "18 degrees and rain"))]
    answer = await called(sdk, streamed=streamed, model=model, input=history, tools=[WEATHER])
    assert "18 degrees and rain" in answer.output_text


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_are_answered_together(sdk, model, streamed):
    asked: list[Any] = [{"role": "user", "content": "Please call get_weather and now for Paris"}]
    tools = [WEATHER, NOW]
    answer = await called(sdk, streamed=streamed, model=model, input=asked, tools=tools)
    first, second = calls_of(answer)
    assert (first.name, second.name, json.loads(second.arguments)) == ("get_weather", "now", {})
    assert first.call_id != second.call_id
    results = returned((second, "noon"), (first, "rain"))
    answer = await called(
        sdk, streamed=streamed, model=model, input=[*asked, *answer.output, *results], tools=tools
    )
    assert "noon" in answer.output_text
    assert "rain" in answer.output_text


async def test_a_tool_may_be_demanded_or_forbidden(sdk, model):
    for choice in ("required", {"type": "function", "name": "now"}):
        answer = await create(sdk, model=model, input="Hello", tools=[NOW], tool_choice=choice)
        assert calls_of(answer)[0].name == "now"
    answer = await create(sdk, model=model, input="now", tools=[NOW], tool_choice="none")
    assert calls_of(answer) == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_may_take_free_text(sdk, model, streamed):
    if model == MODELS["openai-responses"]:
        pytest.skip("spliced: what the demo answers there is no custom call")
    tools = [{"type": "custom", "name": "shout", "description": "Say it aloud."}]
    asked: list[Any] = [{"role": "user", "content": "Please shout for Paris"}]
    answer = await called(sdk, streamed=streamed, model=model, input=asked, tools=tools)
    (call,) = [item for item in answer.output if item.type == "custom_tool_call"]
    assert call.name == "shout"
    assert isinstance(call.input, str)
    result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "heard afar"}
    answer = await called(
        sdk, streamed=streamed, model=model, input=[*asked, *answer.output, result], tools=tools
    )
    assert "heard afar" in answer.output_text


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_has_the_shape_that_was_asked_for(sdk, model, streamed):
    fields = {"model": model, "input": 'A person called "Ada" of 36 years', "text_format": Person}
    if streamed:
        answer = (await helped(sdk, **fields))[1]
    else:
        answer = await sdk.call(sdk.client.responses.parse, store=False, **fields)
    assert answer.output_parsed == Person(name="Ada", age=36)


async def test_an_image_is_seen(sdk, model):
    content = [
        {"type": "input_text", "text": "What is this?"},
        {
            "type": "input_image",
            "image_url": f"data:image/png;base64,{PIXEL}",
            "detail": "low",
        },
    ]
    answer = await create(sdk, model=model, input=[{"role": "user", "content": content}])
    assert "png" in answer.output_text.lower()


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_is_shown_to_who_asks(sdk, model, streamed):
    answer = await called(
        sdk,
        streamed=streamed,
        model=f"{model}-thinking",
        input="Good morning",
        reasoning={"effort": "high", "summary": "auto"},
    )
    thought = "".join(
        part.text for item in answer.output if item.type == "reasoning" for part in item.summary
    )
    assert "demo" in thought
    assert "Good morning" in answer.output_text
    assert thought not in answer.output_text


def bare(item: Any) -> dict[str, Any]:
    """Return an item as Codex sends it back: without its id, and a thought without its text."""
    told: dict[str, Any] = item.model_dump(exclude_none=True)
    told.pop("id")
    if told["type"] == "reasoning":
        told = {**told, "summary": [], "content": None}
    return told


@pytest.mark.parametrize("echo", [lambda item: item, bare], ids=["whole", "without ids"])
async def test_thinking_before_a_tool_goes_back_with_the_call(sdk, model, echo):
    fields: dict[str, Any] = {
        "model": f"{model}-thinking",
        "tools": [WEATHER],
        "include": ENCRYPTED,
        "reasoning": {"effort": "high", "summary": "auto"},
    }
    asked: list[Any] = [{"role": "user", "content": "Please get_weather for Paris"}]
    answer = (await helped(sdk, input=asked, **fields))[1]
    (call,) = calls_of(answer)
    thoughts = [item for item in answer.output if item.type == "reasoning"]
    if model != MODELS["openai-chat"]:
        # Who speaks chat seals nothing.
        assert any(thought.encrypted_content for thought in thoughts)
    history = [*asked, *map(echo, answer.output), *returned((call, "18 degrees"))]
    answer = (await helped(sdk, input=history, **fields))[1]
    assert "18 degrees" in answer.output_text


async def test_a_conversation_changes_its_model(sdk, model):
    """Seals of one provider are not shown to another, whichever comes next."""
    fields: dict[str, Any] = {
        "tools": [WEATHER],
        "include": ENCRYPTED,
        "reasoning": {"effort": "high"},
    }
    asked: list[Any] = [{"role": "user", "content": "Please get_weather for Paris"}]
    answer = (await helped(sdk, model=f"{model}-thinking", input=asked, **fields))[1]
    (call,) = calls_of(answer)
    history = [*asked, *answer.output, *returned((call, "18 degrees"))]
    for other in MODELS.values():
        told = await create(sdk, model=f"{other}-thinking", input=history, **fields)
        assert "18 degrees" in told.output_text


# Errors.


@pytest.mark.parametrize(
    ("said", "error", "status"),
    [
        ("fail:400", openai.BadRequestError, 400),
        ("fail:401", openai.InternalServerError, 502),
        ("fail:404", openai.NotFoundError, 404),
        ("fail:429", openai.RateLimitError, 429),
        ("fail:500", openai.InternalServerError, 502),
        ("fail:503", openai.InternalServerError, 503),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_an_upstream_refuses_is_raised_as_its_class(
    sdk, model, said, error, status, streamed
):
    with pytest.raises(error) as raised:
        await (events_of if streamed else create)(sdk, model=model, input=said)
    assert raised.value.status_code == status


@pytest.mark.parametrize("said", ["fail:cut", "fail:error"])
async def test_a_stream_that_breaks_in_the_middle_ends_in_a_failure(sdk, model, said):
    events = await events_of(sdk, model=model, input=said)
    assert events[-1].type == "response.failed"
    assert "upstream provider" in events[-1].response.error.message


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_and_its_cut_reach_the_sdk(dialect, asynchronous):
    async with in_front_of([spoken.streamed(dialect, "He", "llo")], dialect) as (front, _):
        sdk = OpenAI(front, asynchronous=asynchronous)
        _, final = await helped(sdk, model="up/m", input="Hi")
        await sdk.close()
    assert final.output_text == "Hello"
    assert final.usage.input_tokens_details.cached_tokens == spoken.CACHED
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
    async with in_front_of([begun, Cut()], dialect) as (front, _):
        sdk = OpenAI(front, asynchronous=asynchronous)
        events = await events_of(sdk, model="up/m", input="Hi")
        await sdk.close()
    assert events[-1].type == "response.failed"
    assert "closed the stream early" in events[-1].response.error.message
