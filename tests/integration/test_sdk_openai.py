"""OpenAI's own SDK against every upstream dialect, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from tests.integration.sdk import MODELS, PIXEL, OpenAI, demo_gateway, user

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
NOW = {
    "type": "function",
    "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
}


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


def text_of(chunks) -> str:
    # The loop of every tutorial: the first choice of each chunk, whatever is in it.
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def test_a_question_is_answered(sdk, model):
    answer = await sdk.create(model=model, messages=user("Good morning"))
    (choice,) = answer.choices
    assert "“Good morning”" in choice.message.content
    assert (choice.message.role, choice.finish_reason, answer.model) == ("assistant", "stop", model)
    assert (answer.object, answer.id.startswith("chatcmpl-")) == ("chat.completion", True)
    usage = answer.usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer._request_id.startswith("req_")


async def test_a_stream_says_what_the_whole_answer_says(sdk, model):
    whole = await sdk.create(model=model, messages=user("Good morning"))
    chunks = await sdk.stream(model=model, messages=user("Good morning"))
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [
        chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason
    ] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


async def test_usage_comes_in_a_chunk_of_its_own_for_who_asks(sdk, model):
    whole = await sdk.create(model=model, messages=user("Good morning"))
    chunks = await sdk.stream(
        model=model, messages=user("Good morning"), stream_options={"include_usage": True}
    )
    *content, last = chunks
    assert text_of(content) == whole.choices[0].message.content
    assert last.choices == []
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in content)


async def test_the_limit_of_tokens_is_kept(sdk, model):
    answer = await sdk.create(model=model, messages=user("long:500"), max_completion_tokens=16)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens <= 16


async def test_stop_words_stop(sdk, model):
    if model == MODELS["openai-responses"]:
        pytest.skip("Responses has no stop words: they are dropped, and named in the header")
    answer = await sdk.create(model=model, messages=user("Good morning"), stop=["You said"])
    assert answer.choices[0].finish_reason == "stop"
    assert "You said" not in answer.choices[0].message.content


async def called(sdk, *, streamed: bool, **fields):
    """Return the assistant's message with its calls, and why it ended."""
    if not streamed:
        choice = (await sdk.create(**fields)).choices[0]
        return choice.message.model_dump(exclude_none=True), choice.finish_reason
    calls: dict[int, dict] = {}
    finish = None
    for chunk in await sdk.stream(**fields):
        (choice,) = chunk.choices
        finish = finish or choice.finish_reason
        for part in choice.delta.tool_calls or ():
            call = calls.setdefault(part.index, {"type": "function", "function": {"arguments": ""}})
            if part.id:
                call["id"] = part.id
            if part.function.name:
                call["function"]["name"] = part.function.name
            call["function"]["arguments"] += part.function.arguments or ""
    assert sorted(calls) == list(range(len(calls)))
    return {"role": "assistant", "content": None, "tool_calls": list(calls.values())}, finish


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_is_answered(sdk, model, streamed):
    messages = user("Please get_weather for Paris")
    message, finish = await called(
        sdk, streamed=streamed, model=model, messages=messages, tools=[WEATHER]
    )
    (call,) = message["tool_calls"]
    assert finish == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "get_weather",
        {"city": "Paris"},
    )
    result = {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees and rain"}
    answer = await sdk.create(model=model, messages=[*messages, message, result], tools=[WEATHER])
    assert "18 degrees and rain" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_are_answered_together(sdk, model, streamed):
    messages = user("Please call get_weather and now for Paris")
    message, _ = await called(
        sdk, streamed=streamed, model=model, messages=messages, tools=[WEATHER, NOW]
    )
    first, second = message["tool_calls"]
    assert [first["function"]["name"], second["function"]["name"]] == ["get_weather", "now"]
    assert json.loads(second["function"]["arguments"]) == {}
    assert first["id"] != second["id"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": [{"type": "text", "text": said}]}
        for call, said in ((second, "noon"), (first, "rain"))
    ]
    chunks = await sdk.stream(
        model=model, messages=[*messages, message, *results], tools=[WEATHER, NOW]
    )
    assert "noon" in text_of(chunks)
    assert "rain" in text_of(chunks)


async def test_a_tool_may_be_demanded(sdk, model):
    wanted = {"type": "function", "function": {"name": "now"}}
    for choice in ("required", wanted):
        answer = await sdk.create(
            model=model, messages=user("Hello"), tools=[NOW], tool_choice=choice
        )
        assert answer.choices[0].message.tool_calls[0].function.name == "now"
    answer = await sdk.create(model=model, messages=user("now"), tools=[NOW], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None


async def test_an_image_is_seen(sdk, model):
    content = [
        {"type": "text", "text": "What is this?"},
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
        },
    ]
    answer = await sdk.create(model=model, messages=[{"role": "user", "content": content}])
    assert "png" in answer.choices[0].message.content.lower()


class Person(BaseModel):
    name: str
    age: int


async def test_an_answer_has_the_shape_that_was_asked_for(sdk, model):
    answer = await sdk.call(
        sdk.client.chat.completions.parse,
        model=model,
        messages=user('A person called "Ada" of 36 years'),
        response_format=Person,
    )
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)


async def test_a_streamed_answer_has_that_shape_too(sdk, model):
    form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": {
        **Person.model_json_schema(), "additionalProperties": False}}}  # fmt: skip
    chunks = await sdk.stream(
        model=model, messages=user('A person called "Ada" of 36 years'), response_format=form
    )
    assert Person.model_validate_json(text_of(chunks)) == Person(name="Ada", age=36)


async def test_any_json_object_may_be_asked_for(sdk, model):
    if model == MODELS["anthropic"]:
        pytest.skip(
            "Anthropic has no such mode: the model is told in words, which the demo does not heed"
        )
    answer = await sdk.create(
        model=model, messages=user("Say it in JSON"), response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_is_shown_beside_the_answer(sdk, model, streamed):
    fields: dict[str, Any] = {"model": f"{model}-thinking", "messages": user("Good morning")}
    if model == MODELS["openai-responses"]:
        # OpenAI shows summaries to verified organisations only, so a mere effort does not ask for them.
        fields["extra_body"] = {"reasoning": {"effort": "high"}}
    else:
        fields["reasoning_effort"] = "high"
    if streamed:
        deltas = [chunk.choices[0].delta for chunk in await sdk.stream(**fields)]
        thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        said = "".join(delta.content or "" for delta in deltas)
    else:
        message = (await sdk.create(**fields)).choices[0].message
        thought, said = message.reasoning_content, message.content
    assert "demo" in thought
    assert "Good morning" in said
    assert thought not in said


async def test_thinking_before_a_tool_comes_back_although_the_client_drops_it(sdk, model):
    fields = {"model": f"{model}-thinking", "tools": [WEATHER], "reasoning_effort": "high"}
    messages = user("Please get_weather for Paris")
    message = (await sdk.create(messages=messages, **fields)).choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "get_weather"
    bare = {
        "role": "assistant",
        "tool_calls": [call.model_dump(include={"id", "type", "function"})],
    }
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    answer = await sdk.create(messages=[*messages, bare, result], **fields)
    assert "18 degrees" in answer.choices[0].message.content


async def test_history_may_hold_what_sdks_echo(sdk, model):
    first = (await sdk.create(model=model, messages=user("Good morning"))).choices[0].message
    messages = [
        {"role": "system", "content": "Be kind."},
        *user("Good morning"),
        first.model_dump(),
        *user("And now?"),
    ]
    answer = await sdk.create(model=model, messages=messages)
    assert "And now?" in answer.choices[0].message.content


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
        ("fail:html", openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_an_upstream_refuses_is_raised_as_its_class(
    sdk, model, said, error, status, streamed
):
    with pytest.raises(error) as raised:
        await (sdk.stream if streamed else sdk.create)(model=model, messages=user(said))
    assert raised.value.status_code == status
    assert raised.value.request_id.startswith("req_")


async def test_a_wrong_key_and_a_wrong_name_are_raised_as_their_classes(front):
    for asynchronous in (False, True):
        sdk = OpenAI(front, asynchronous=asynchronous, key="sk-wrong")
        with pytest.raises(openai.AuthenticationError) as wrong_key:
            await sdk.create(model="demo-chat", messages=user("Hi"))
        await sdk.close()
        sdk = OpenAI(front, asynchronous=asynchronous)
        with pytest.raises(openai.NotFoundError) as wrong_name:
            await sdk.create(model="demo-chatt", messages=user("Hi"))
        await sdk.close()
        assert wrong_key.value.code == "invalid_api_key"
        assert (wrong_name.value.code, wrong_name.value.param) == ("model_not_found", "model")
        assert "demo-chat" in wrong_name.value.message


@pytest.mark.parametrize("said", ["fail:cut", "fail:error"])
async def test_a_stream_that_breaks_in_the_middle_raises(sdk, model, said):
    with pytest.raises(openai.APIError, match="upstream provider"):
        await sdk.stream(model=model, messages=user(said))


@pytest.mark.parametrize(
    ("base", "right"), [("", "/v1/chat/completions"), ("/v1/v1", "/v1/chat/completions")]
)
async def test_a_wrong_base_url_is_told(front, base, right):
    sdk = OpenAI(front, asynchronous=True, base=base)
    with pytest.raises(openai.NotFoundError, match=right):
        await sdk.create(model="demo-chat", messages=user("Hi"))
    await sdk.close()


# Models.


async def test_models_are_listed(sdk):
    page = await sdk.call(sdk.client.models.list)
    models = {model.id: model for model in page.data}
    assert set(MODELS.values()) <= set(models)
    assert {
        (model.object, type(model.created), type(model.owned_by)) for model in models.values()
    } == {("model", int, str)}


async def test_one_model_is_shown(sdk):
    model = await sdk.call(sdk.client.models.retrieve, "demo-claude")
    assert (model.id, model.object) == ("demo-claude", "model")
    with pytest.raises(openai.NotFoundError, match="demo-claude"):
        await sdk.call(sdk.client.models.retrieve, "demo-claud")
