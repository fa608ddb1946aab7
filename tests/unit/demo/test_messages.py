"""The demo provider through the Anthropic SDK."""

import json

import anthropic
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

WEATHER = {"name": "get_weather", "input_schema": WEATHER_SCHEMA}
TIME = {"name": "get_time", "input_schema": TIME_SCHEMA}


def user(content):
    return {"role": "user", "content": content}


async def create(client, *messages, **options):
    options = {"model": "demo-claude", "max_tokens": 2000} | options
    return await client.messages.create(messages=list(messages), **options)


async def final(client, *messages, **options):
    options = {"model": "demo-claude", "max_tokens": 2000} | options
    async with client.messages.stream(messages=list(messages), **options) as stream:
        return await stream.get_final_message()


async def test_a_stream_says_what_the_whole_answer_says(anthropic_client):
    whole = await create(anthropic_client, user("Good morning"), system="Be brief.")
    streamed = await final(anthropic_client, user("Good morning"), system="Be brief.")
    [block] = whole.content
    assert "anthropic" in block.text
    assert "“Good morning”" in block.text
    assert "“Be brief.”" in block.text
    assert streamed.content[0].text == block.text
    assert streamed.stop_reason == whole.stop_reason == "end_turn"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert whole.usage.cache_read_input_tokens == whole.usage.cache_creation_input_tokens == 0


async def test_a_tool_is_called_and_its_result_quoted(anthropic_client):
    asked = user("How is the weather in Paris?")
    for ask in (create, final):
        answer = await ask(anthropic_client, asked, tools=[WEATHER, TIME])
        assert answer.stop_reason == "tool_use"
        [call] = answer.content
        assert call.input == {"city": "Paris", "unit": "celsius"}
        use = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}
        history = [asked, {"role": "assistant", "content": [use]}, user([result])]
        assert (
            "“18 degrees”"
            in (await ask(anthropic_client, *history, tools=[WEATHER])).content[0].text
        )


async def test_tools_are_called_in_parallel(anthropic_client):
    answer = await final(anthropic_client, user("both in Rome"), tools=[WEATHER, TIME])
    assert [block.name for block in answer.content] == ["get_weather", "get_time"]
    alone = {"type": "any", "disable_parallel_tool_use": True}
    answer = await final(
        anthropic_client, user("both in Rome"), tools=[WEATHER, TIME], tool_choice=alone
    )
    assert [block.name for block in answer.content] == ["get_weather"]


async def test_a_call_without_arguments_has_an_empty_input(anthropic_client):
    bare = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
    [call] = (await final(anthropic_client, user("Hi"), tools=[bare])).content
    assert call.input == {}


@pytest.mark.parametrize(
    "thinking",
    [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}],
    ids=["adaptive", "enabled"],
)
async def test_thinking_is_signed_and_can_be_replayed(anthropic_client, thinking):
    whole = await create(anthropic_client, user("Why?"), thinking=thinking)
    streamed = await final(anthropic_client, user("Why?"), thinking=thinking)
    block = streamed.content[0]
    assert "“Why?”" in block.thinking
    assert block.signature == whole.content[0].signature
    assert whole.usage.output_tokens_details.thinking_tokens > 0

    replayed = {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
    text = {"type": "text", "text": "So."}
    history = [user("Why?"), {"role": "assistant", "content": [replayed, text]}, user("Go on")]
    assert "“Go on”" in (await create(anthropic_client, *history)).content[0].text
    replayed["thinking"] = "something else"
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await create(anthropic_client, *history)


async def test_omitted_thinking_is_still_signed(anthropic_client):
    hidden = {"type": "adaptive", "display": "omitted"}
    streamed = await final(anthropic_client, user("Why?"), thinking=hidden)
    assert streamed.content[0].thinking == ""
    assert streamed.content[0].signature


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "auto"}, ["get_weather"]),
        ({"type": "none"}, []),
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
    ],
)
async def test_tool_choice_is_obeyed(anthropic_client, choice, names):
    answer = await create(
        anthropic_client, user("Hi in Rome"), tools=[WEATHER, TIME], tool_choice=choice
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == names


async def test_a_deferred_tool_is_not_called(anthropic_client):
    tools = [WEATHER | {"defer_loading": True}, TIME]
    answer = await create(anthropic_client, user("Hi in Rome"), tools=tools)
    assert answer.content[0].name == "get_time"


async def test_every_kind_of_source_is_mentioned(anthropic_client):
    sources = {
        "the URL https://example.com/a.png": {"type": "url", "url": "https://example.com/a.png"},
        "the URL file_1": {"type": "file", "file_id": "file_1"},
        "text/plain of 2 bytes": {"type": "text", "media_type": "text/plain", "data": "ab"},
    }
    content = [{"type": "document", "source": source} for source in sources.values()]
    text = (await create(anthropic_client, user(content))).content[0].text
    assert all(mention in text for mention in sources)


async def test_a_tool_result_may_be_an_image(anthropic_client):
    image = {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}
    content = [{"type": "image", "source": image}, {"type": "tool_reference", "tool_name": "t"}]
    result = RESULT | {"content": content}
    answer = await create(anthropic_client, user("a"), CALLED, user([result]), tools=[TIME])
    assert SEEN in answer.content[0].text


async def test_a_schema_is_filled(anthropic_client):
    form = {"format": {"type": "json_schema", "schema": PERSON_SCHEMA}}
    answer = await create(anthropic_client, user(PERSON_PROMPT), output_config=form)
    assert json.loads(answer.content[0].text) == PERSON


async def test_images_are_answered_with_their_sizes(anthropic_client):
    source = {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    assert SEEN in (await create(anthropic_client, user(content))).content[0].text


async def test_stop_and_limit_end_the_answer(anthropic_client):
    stopped = await create(anthropic_client, user("Hi"), stop_sequences=["demo model"])
    assert stopped.content[0].text == "Hello! This is demo-claude, a "
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "demo model")
    limited = await create(anthropic_client, user("Hi"), max_tokens=3)
    assert limited.content[0].text == "Hello! This is"
    assert limited.stop_reason == "max_tokens"


async def test_a_system_message_may_stand_in_the_middle(anthropic_client):
    note = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    answer = await create(anthropic_client, user("Hi"), note)
    assert "“Be brief.”" in answer.content[0].text
    later = {"role": "system", "content": [{"type": "tool_addition", "tool_name": "late"}]}
    await create(anthropic_client, user("Hi"), later)


async def test_input_tokens_are_counted(anthropic_client):
    asked = user("Count these four words")
    answer = await create(anthropic_client, asked)
    counted = await anthropic_client.messages.count_tokens(model="demo-claude", messages=[asked])
    assert counted.input_tokens == answer.usage.input_tokens


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (529, "overloaded_error"),
    ],
)
async def test_it_fails_as_it_is_told(anthropic_client, status, kind):
    with pytest.raises(anthropic.APIStatusError) as caught:
        await create(anthropic_client, user(f"fail:{status}"))
    assert caught.value.status_code == status
    body = caught.value.response.json()
    assert body["error"]["type"] == kind
    assert body["request_id"].startswith("req_")


async def test_a_stream_breaks_after_a_few_words(anthropic_client):
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        await final(anthropic_client, user("fail:error"))
    with pytest.raises(Exception, match="without sending complete message body"):
        await final(anthropic_client, user("fail:cut"))


async def test_the_stream_has_event_lines_and_a_ping(http):
    body = {"model": "demo-claude", "max_tokens": 9, "messages": [user("Hi")], "stream": True}
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    async with http.post("/v1/messages", json=body, headers=headers) as response:
        frames = (await response.text()).split("\n\n")[:-1]
    kinds = []
    for frame in frames:
        name, data = frame.split("\n")
        kinds.append(json.loads(data.removeprefix("data: "))["type"])
        assert name == f"event: {kinds[-1]}"
    assert kinds == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * 9,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


USE = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {}}
CALLED = {"role": "assistant", "content": [USE]}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"}
TEXT = {"type": "text", "text": "x"}
OPEN_SCHEMA = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "claude-none"}, 404, "model: claude-none"),
        ({"max_tokens": None}, 400, "max_tokens: Field required"),
        ({"messages": [{"role": "system", "content": "x"}, user("a")]}, 400, "must use the"),
        ({"messages": [user("a"), {"role": "system", "content": "x"}, user("b")]}, 400, "precede"),
        ({"tools": [TIME | {"color": 1}]}, 400, "tools.0.color: Extra inputs"),
        ({"thinking": {"type": "enabled"}}, 400, "thinking.budget_tokens: Field required"),
        ({"output_config": {"effort": "huge"}}, 400, "output_config.effort"),
        ({"messages": []}, 400, "messages: at least one message is required"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "must use the"),
        ({"messages": [user("a"), {"role": "assistant", "content": "x"}]}, 400, "prefill"),
        ({"messages": [user("")]}, 400, "non-empty content"),
        ({"messages": [user([{"type": "text", "text": ""}])]}, 400, "must be non-empty"),
        ({"messages": [user([{"type": "text", "text": " "}])]}, 400, "non-whitespace"),
        ({"messages": [user([{"type": "image_url"}])]}, 400, "'image_url' is not allowed"),
        ({"messages": [user("a"), CALLED, user("b")], "tools": [TIME]}, 400, "were found without"),
        ({"messages": [user("a"), CALLED, user([TEXT, RESULT])], "tools": [TIME]}, 400, "without"),
        ({"messages": [user([RESULT])], "tools": [TIME]}, 400, "unexpected `tool_use_id`"),
        ({"messages": [user("a"), CALLED, user([RESULT])]}, 400, "must define tools"),
        ({"n": 1}, 400, "n: Extra inputs are not permitted"),
        ({"metadata": {"team": "x"}}, 400, "metadata.team: Extra inputs"),
        ({"temperature": 1.5}, 400, "temperature"),
        ({"stop_sequences": ["\n"]}, 400, "non-whitespace"),
        ({"tools": [TIME, TIME]}, 400, "Tool names must be unique"),
        ({"tools": [{"name": "a b", "input_schema": TIME_SCHEMA}]}, 400, "tools.0.name"),
        ({"tools": [{"name": "a"}]}, 400, "tools.0.input_schema: Field required"),
        ({"tool_choice": {"type": "auto"}}, 400, "while providing tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, 400, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, 400, "must be greater than"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": OPEN_SCHEMA}}},
            400,
            "'additionalProperties' must be explicitly set to false",
        ),
        ({"system": [TEXT | {"cache_control": {"type": "ephemeral"}}] * 5}, 400, "A maximum of 4"),
    ],
)
async def test_a_bad_request_is_refused_as_anthropic_would(http, body, status, words):
    body = {"model": "demo-claude", "max_tokens": 2000, "messages": [user("Hi")]} | body
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    async with http.post("/v1/messages", json=body, headers=headers) as response:
        answer = await response.json()
    assert response.status == status
    assert answer["type"] == "error"
    assert words in answer["error"]["message"]


async def test_the_newest_version_has_no_sampling(http):
    body = {"model": "demo-claude", "max_tokens": 9, "messages": [user("Hi")], "temperature": 1}
    for version, status in (("2023-06-01", 200), ("2026-10-21", 400)):
        headers = {"x-api-key": "k", "anthropic-version": version}
        async with http.post("/v1/messages", json=body, headers=headers) as response:
            assert response.status == status


async def test_key_and_version_are_required(http):
    for headers, status in (
        ({"anthropic-version": "2023-06-01"}, 401),
        ({"x-api-key": "k"}, 400),
    ):
        async with http.post("/v1/messages", json={}, headers=headers) as response:
            assert response.status == status
