"""Anthropic's own SDK against every upstream dialect, over real sockets."""

from __future__ import annotations

import json

import anthropic
import pytest
import pytest_asyncio

from tests.integration.sdk import MODELS, PIXEL, Anthropic, demo_gateway, user

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
NOW = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
THINK = {"type": "enabled", "budget_tokens": 2048}


@pytest_asyncio.fixture
async def front():
    async with demo_gateway() as running:
        yield running


@pytest_asyncio.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(front, request):
    made = Anthropic(front, asynchronous=request.param)
    yield made
    await made.close()


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request) -> str:
    return str(request.param)


def text_of(message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


async def answered(sdk, *, streamed: bool, **fields):
    """Return the message, asked for whole or put together by the SDK from a stream."""
    return await (sdk.final if streamed else sdk.create)(**fields)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_question_is_answered(sdk, model, streamed):
    message = await answered(
        sdk, streamed=streamed, model=model, messages=user("Good morning"), system="Be kind."
    )
    assert "“Good morning”" in text_of(message)
    assert "“Be kind.”" in text_of(message)
    assert (message.type, message.role, message.model) == ("message", "assistant", model)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.id.startswith("msg_")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


async def test_a_stream_has_the_events_that_clients_wait_for(sdk, model):
    events = await sdk.stream(model=model, messages=user("Good morning"))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[0] == "message_start"
    assert kinds[1] == "content_block_start"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert events[0].message.content == []
    usage = next(event.usage for event in events if event.type == "message_delta")
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


async def test_whole_and_streamed_answers_say_and_cost_the_same(sdk, model):
    whole = await sdk.create(model=model, messages=user("Good morning"))
    streamed = await sdk.final(model=model, messages=user("Good morning"))
    assert text_of(streamed) == text_of(whole)
    assert streamed.usage.input_tokens == whole.usage.input_tokens
    assert streamed.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_limit_of_tokens_is_kept(sdk, model, streamed):
    message = await answered(
        sdk, streamed=streamed, model=model, messages=user("long:500"), max_tokens=16
    )
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_is_answered(sdk, model, streamed):
    messages = user("Please get_weather for Paris")
    message = await answered(
        sdk, streamed=streamed, model=model, messages=messages, tools=[WEATHER]
    )
    call = message.content[-1]
    assert message.stop_reason == "tool_use"
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees and rain"}
    messages += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    message = await answered(
        sdk, streamed=streamed, model=model, messages=messages, tools=[WEATHER]
    )
    assert "18 degrees and rain" in text_of(message)
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_are_answered_together(sdk, model, streamed):
    messages = user("Please call get_weather and now for Paris")
    message = await answered(
        sdk, streamed=streamed, model=model, messages=messages, tools=[WEATHER, NOW]
    )
    first, second = (block for block in message.content if block.type == "tool_use")
    assert (first.name, second.name, second.input) == ("get_weather", "now", {})
    assert first.id != second.id
    results = [
        {
            "type": "tool_result",
            "tool_use_id": second.id,
            "content": [{"type": "text", "text": "noon"}],
        },
        {
            "type": "tool_result",
            "tool_use_id": first.id,
            "content": "no weather today",
            "is_error": True,
        },
    ]
    messages += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    message = await answered(
        sdk, streamed=streamed, model=model, messages=messages, tools=[WEATHER, NOW]
    )
    assert "noon" in text_of(message)
    assert "no weather today" in text_of(message)


async def test_calls_may_be_asked_for_one_at_a_time(sdk, model):
    message = await sdk.create(
        model=model,
        messages=user("Please call get_weather and now for Paris"),
        tools=[WEATHER, NOW],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(calls) == 1 or model == MODELS["gemini"]  # which has no such switch


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "now"}])
async def test_a_tool_may_be_demanded(sdk, model, choice):
    message = await sdk.create(model=model, messages=user("Hello"), tools=[NOW], tool_choice=choice)
    assert [block.name for block in message.content if block.type == "tool_use"] == ["now"]


async def test_an_image_is_seen(sdk, model):
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    message = await sdk.create(model=model, messages=[{"role": "user", "content": content}])
    assert "png" in text_of(message).lower()


async def test_an_image_may_be_the_result_of_a_tool(sdk, model):
    messages = user("Please call now")
    message = await sdk.create(model=model, messages=messages, tools=[NOW])
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    result = {
        "type": "tool_result",
        "tool_use_id": message.content[-1].id,
        "content": [{"type": "image", "source": source}],
    }
    messages += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    final = await sdk.create(
        model=model, messages=messages, tools=[NOW], tool_choice={"type": "none"}
    )
    # The demo's Gemini does not describe what a function returns beside its text.
    assert ("The tool says" if model == MODELS["gemini"] else "png") in text_of(final)


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_is_shown_and_signed(sdk, model, streamed):
    message = await answered(
        sdk,
        streamed=streamed,
        model=f"{model}-thinking",
        messages=user("Good morning"),
        thinking=THINK,
    )
    thought, said = message.content
    assert (thought.type, said.type) == ("thinking", "text")
    assert "demo" in thought.thinking
    assert thought.signature


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_comes_back_with_its_signature_and_its_tool(sdk, model, streamed):
    fields = {"model": f"{model}-thinking", "tools": [WEATHER], "thinking": THINK}
    messages = user("Please get_weather for Paris")
    message = await answered(sdk, streamed=streamed, messages=messages, **fields)
    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": message.content[-1].id, "content": "18 degrees"}
    messages += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    final = await answered(sdk, streamed=streamed, messages=messages, **fields)
    assert "18 degrees" in text_of(final)
    # The conversation goes on at another provider, to which the seal means nothing.
    messages += [{"role": "assistant", "content": final.content}, *user("And now?")]
    for other in MODELS.values():
        elsewhere = {**fields, "model": f"{other}-thinking", "tool_choice": {"type": "none"}}
        moved = await answered(sdk, streamed=streamed, messages=messages, **elsewhere)
        assert "And now?" in text_of(moved)


FORM = {
    "type": "json_schema",
    "schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_has_the_shape_that_was_asked_for(sdk, model, streamed):
    message = await answered(
        sdk,
        streamed=streamed,
        model=model,
        messages=user('A person called "Ada" of 36 years'),
        output_config={"format": FORM},
    )
    assert json.loads(text_of(message)) == {"name": "Ada", "age": 36}


async def test_a_system_message_may_stand_among_the_others(sdk, model):
    messages = [*user("Good morning"), {"role": "system", "content": "Speak softly."}]
    message = await sdk.create(model=model, messages=messages)
    assert "Good morning" in text_of(message)


async def test_stop_words_stop(sdk, model):
    if model == MODELS["openai-responses"]:
        pytest.skip("Responses has no stop words: they are dropped, and named in the header")
    message = await sdk.create(
        model=model, messages=user("Good morning"), stop_sequences=["You said"]
    )
    assert "You said" not in text_of(message)
    if model == MODELS["anthropic"]:
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "You said")


# Errors.


@pytest.mark.parametrize(
    ("said", "error", "status"),
    [
        ("fail:400", anthropic.BadRequestError, 400),
        ("fail:401", anthropic.InternalServerError, 502),
        ("fail:404", anthropic.NotFoundError, 404),
        ("fail:429", anthropic.RateLimitError, 429),
        ("fail:500", anthropic.InternalServerError, 502),
        ("fail:html", anthropic.InternalServerError, 502),
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


async def test_an_overloaded_anthropic_says_so_in_its_own_way(sdk):
    with pytest.raises(anthropic.APIStatusError) as raised:
        await sdk.create(model="demo-claude", messages=user("fail:529"))
    assert (raised.value.status_code, raised.value.type) == (529, "overloaded_error")


async def test_a_wrong_key_and_a_wrong_name_are_raised_as_their_classes(front):
    for asynchronous in (False, True):
        sdk = Anthropic(front, asynchronous=asynchronous, key="sk-wrong")
        with pytest.raises(anthropic.AuthenticationError) as wrong_key:
            await sdk.create(model="demo-claude", messages=user("Hi"))
        await sdk.close()
        sdk = Anthropic(front, asynchronous=asynchronous)
        with pytest.raises(anthropic.NotFoundError, match="demo-claude"):
            await sdk.create(model="demo-claudee", messages=user("Hi"))
        await sdk.close()
        assert wrong_key.value.type == "authentication_error"


@pytest.mark.parametrize("said", ["fail:cut", "fail:error"])
async def test_a_stream_that_breaks_in_the_middle_raises(sdk, model, said):
    with pytest.raises(anthropic.APIStatusError, match="upstream provider"):
        await sdk.stream(model=model, messages=user(said))


async def test_a_wrong_base_url_is_told(front):
    sdk = Anthropic(front, asynchronous=True, base="/v1")
    with pytest.raises(anthropic.NotFoundError, match="leave it out"):
        await sdk.create(model="demo-claude", messages=user("Hi"))
    await sdk.close()


# Counting and models.


async def test_tokens_are_counted(sdk, model):
    fields = {
        "model": model,
        "messages": user("Good morning to you all"),
        "system": "Be kind.",
        "tools": [WEATHER],
    }
    counted = await sdk.call(sdk.client.messages.count_tokens, **fields)
    if model == MODELS["openai-chat"]:
        assert counted.input_tokens > 5  # an estimate: chat completions cannot count
        return
    used = (await sdk.create(**fields)).usage.input_tokens
    assert counted.input_tokens == used


async def test_models_are_listed(sdk):
    page = await sdk.call(sdk.client.models.list, limit=1000)
    models = {model.id: model for model in page.data}
    assert set(MODELS.values()) <= set(models)
    assert {model.type for model in models.values()} == {"model"}
    assert models["demo-claude"].display_name
    assert models["demo-claude"].created_at.year > 2000
    assert page.has_more is False


async def test_one_model_is_shown(sdk):
    model = await sdk.call(sdk.client.models.retrieve, "demo-gpt")
    assert (model.id, model.type) == ("demo-gpt", "model")
    with pytest.raises(anthropic.NotFoundError, match="demo-gpt"):
        await sdk.call(sdk.client.models.retrieve, "demo-gptt")
