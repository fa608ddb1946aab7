"""Google's own SDK against every upstream dialect, over real sockets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import pytest_asyncio
from google import genai
from google.genai import errors
from pydantic import BaseModel

from tests.integration import spoken
from tests.integration.gateway import DIALECTS, in_front_of
from tests.integration.scripted import Cut, whole
from tests.integration.sdk import MODELS, PIXEL, Google, demo_gateway

types: Any = genai.types
"""They take strings for enums and dictionaries for objects, which their annotations do not say."""

# The SDK's own way of using aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

WEATHER = types.FunctionDeclaration(
    name="get_weather",
    description="The weather in a city.",
    parameters=types.Schema(
        type=types.Type.OBJECT,
        properties={"city": types.Schema(type=types.Type.STRING)},
        required=["city"],
    ),
)
NOW = types.FunctionDeclaration(
    name="now", parameters_json_schema={"type": "object", "properties": {}}
)


@pytest_asyncio.fixture
async def front():
    async with demo_gateway() as running:
        yield running


@pytest_asyncio.fixture(params=[False, True], ids=["sync", "async"])
async def sdk(front, request):
    made = Google(front, asynchronous=request.param)
    yield made
    await made.close()


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request) -> str:
    return str(request.param)


def text_of(chunks) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


def parts_of(chunks) -> list[Any]:
    return [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]


def finish_of(chunk) -> str:
    return str(chunk.candidates[0].finish_reason.value)


async def test_a_question_is_answered(sdk, model):
    answer = await sdk.create(model, "Good morning")
    assert "“Good morning”" in answer.text
    assert finish_of(answer) == "STOP"
    assert answer.model_version == model
    assert answer.response_id
    usage = answer.usage_metadata
    assert usage.prompt_token_count > 0
    assert usage.candidates_token_count > 0
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert answer.sdk_http_response.headers["request-id"].startswith("req_")


async def test_a_stream_says_what_the_whole_answer_says(sdk, model):
    answer = await sdk.create(model, "Good morning")
    chunks = await sdk.stream(model, "Good morning")
    assert text_of(chunks).rstrip(" ") == answer.text
    assert len(chunks) > 5
    assert [finish_of(chunk) for chunk in chunks if chunk.candidates[0].finish_reason] == ["STOP"]
    assert finish_of(chunks[-1]) == "STOP"
    assert chunks[-1].usage_metadata == answer.usage_metadata
    assert len({chunk.response_id for chunk in chunks}) == 1


async def test_settings_are_kept(sdk, model):
    answer = await sdk.create(model, "long:500", max_output_tokens=16)
    assert finish_of(answer) == "MAX_TOKENS"
    assert answer.usage_metadata.candidates_token_count <= 16
    told = await sdk.create(
        model, "Good morning", system_instruction="Be kind to all.", temperature=0.3
    )
    assert "Be kind to all." in told.text
    if model != MODELS["openai-responses"]:
        stopped = await sdk.create(model, "Good morning", stop_sequences=["You said"])
        assert "You said" not in stopped.text


async def said(sdk, *, streamed: bool, model: str, contents: Any, **config: Any) -> types.Content:
    """Return the model's content; of a stream, the pieces in which it came."""
    if not streamed:
        answer = await sdk.create(model, contents, **config)
        assert finish_of(answer) == "STOP"
        return answer.candidates[0].content
    chunks = await sdk.stream(model, contents, **config)
    assert finish_of(chunks[-1]) == "STOP"
    return types.Content(role="model", parts=parts_of(chunks))


def asked(text: str) -> list[Any]:
    return [types.UserContent(parts=[types.Part(text=text)])]


def returned(*calls: Any) -> Any:
    """Return the results of calls, each with what it returned; a call without an id is answered by its name."""
    return types.UserContent(
        parts=[
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"result": result}
                )
            )
            for call, result in calls
        ]
    )


def tools_of(*functions: Any) -> dict[str, Any]:
    return {
        "tools": [types.Tool(function_declarations=list(functions))],
        "automatic_function_calling": {"disable": True},
    }


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_is_answered(sdk, model, streamed):
    contents = asked("Please get_weather for Paris")
    content = await said(
        sdk, streamed=streamed, model=model, contents=contents, **tools_of(WEATHER)
    )
    (call,) = [part.function_call for part in content.parts if part.function_call]
    assert (call.name, call.args) == ("get_weather", {"city": "Paris"})
    history = [*contents, content, returned((call, "18 degrees and rain"))]
    answer = await sdk.create(model, history, **tools_of(WEATHER))
    assert "18 degrees and rain" in answer.text


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_are_answered_together(sdk, model, streamed):
    contents = asked("Please call get_weather and now for Paris")
    tools = tools_of(WEATHER, NOW)
    content = await said(sdk, streamed=streamed, model=model, contents=contents, **tools)
    first, second = [part.function_call for part in content.parts if part.function_call]
    assert (first.name, second.name, second.args) == ("get_weather", "now", {})
    assert first.id != second.id
    history = [*contents, content, returned((first, "rain"), (second, "noon"))]
    chunks = await sdk.stream(model, history, **tools)
    assert "noon" in text_of(chunks)
    assert "rain" in text_of(chunks)


async def test_a_tool_may_be_demanded_or_forbidden(sdk, model):
    for mode, names in (("ANY", None), ("ANY", ["now"])):
        calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=names)
        config = types.ToolConfig(function_calling_config=calling)
        answer = await sdk.create(model, "Hello", tool_config=config, **tools_of(NOW))
        assert answer.function_calls[0].name == "now"
    calling = types.FunctionCallingConfig(mode="NONE")
    config = types.ToolConfig(function_calling_config=calling)
    answer = await sdk.create(model, "now", tool_config=config, **tools_of(NOW))
    assert answer.function_calls is None


async def test_the_sdk_calls_python_functions_by_itself(sdk, model):
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"18 degrees and rain in {city}"

    answer = await sdk.create(model, "Please get_weather for Paris", tools=[get_weather])
    assert "18 degrees and rain in Paris" in answer.text


async def test_an_image_is_seen(sdk, model):
    picture = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    answer = await sdk.create(model, ["What is this?", picture])
    assert "png" in answer.text.lower()


class Person(BaseModel):
    name: str
    age: int


PERSON = 'A person called "Ada" of 36 years'
AS_PERSON: list[dict[str, Any]] = [
    {"response_schema": Person},
    {"response_json_schema": {**Person.model_json_schema(), "additionalProperties": False}},
]


@pytest.mark.parametrize("form", AS_PERSON, ids=["openapi", "json schema"])
async def test_an_answer_has_the_shape_that_was_asked_for(sdk, model, form):
    config = {"response_mime_type": "application/json", **form}
    answer = await sdk.create(model, PERSON, **config)
    chunks = await sdk.stream(model, PERSON, **config)
    for text in (answer.text, text_of(chunks)):
        assert Person.model_validate_json(text) == Person(name="Ada", age=36)
    if "response_schema" in form:
        assert answer.parsed == Person(name="Ada", age=36)


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_is_shown_to_who_asks(sdk, model, streamed):
    config = {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH")}
    thinks = f"{model}-thinking"
    content = await said(
        sdk, streamed=streamed, model=thinks, contents=asked("Good morning"), **config
    )
    thought = "".join(part.text or "" for part in content.parts if part.thought)
    text = "".join(part.text or "" for part in content.parts if not part.thought)
    assert "demo" in thought
    assert "Good morning" in text
    assert "The user wants" not in text


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_before_a_tool_goes_back_with_the_call(sdk, model, streamed):
    config = {
        "thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH"),
        **tools_of(WEATHER),
    }
    contents = asked("Please get_weather for Paris")
    thinks = f"{model}-thinking"
    content = await said(sdk, streamed=streamed, model=thinks, contents=contents, **config)
    (part,) = [part for part in content.parts if part.function_call]
    if model != MODELS["openai-chat"]:
        assert part.thought_signature
    history = [*contents, content, returned((part.function_call, "18 degrees"))]
    answer = await sdk.create(thinks, history, **config)
    assert "18 degrees" in answer.text


async def test_a_conversation_changes_its_model(sdk, model):
    """Seals of one provider are not shown to another, whichever comes next."""
    config = {
        "thinking_config": types.ThinkingConfig(include_thoughts=True),
        **tools_of(WEATHER),
    }
    contents = asked("Please get_weather for Paris")
    content = await said(sdk, streamed=True, model=f"{model}-thinking", contents=contents, **config)
    (call,) = [part.function_call for part in content.parts if part.function_call]
    history = [*contents, content, returned((call, "18 degrees"))]
    for other in MODELS.values():
        answer = await sdk.create(f"{other}-thinking", history, **config)
        assert "18 degrees" in answer.text


async def test_tokens_are_counted(sdk, model):
    counted = await sdk.call(sdk.models.count_tokens, model=model, contents="Good morning")
    assert 0 < counted.total_tokens < 20


async def test_a_chat_goes_on(front, model):
    client = Google(front, asynchronous=False)
    chat = client._client.chats.create(model=model)
    first = await client.call(chat.send_message, message="Good morning")
    second = await client.call(chat.send_message, message="And now?")
    assert "Good morning" in first.text
    assert "And now?" in second.text
    await client.close()


# Errors.


@pytest.mark.parametrize(
    ("text", "error", "code", "status"),
    [
        ("fail:400", errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("fail:401", errors.ServerError, 502, "INTERNAL"),
        ("fail:404", errors.ClientError, 404, "NOT_FOUND"),
        ("fail:429", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("fail:500", errors.ServerError, 502, "INTERNAL"),
        ("fail:503", errors.ServerError, 503, "UNAVAILABLE"),
        ("fail:html", errors.ServerError, 502, "INTERNAL"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_an_upstream_refuses_is_raised_as_its_class(
    sdk, model, text, error, code, status, streamed
):
    with pytest.raises(error) as raised:
        await (sdk.stream if streamed else sdk.create)(model, text)
    assert (raised.value.code, raised.value.status) == (code, status)
    assert raised.value.message


async def test_a_wrong_key_and_a_wrong_name_are_raised(front):
    for asynchronous in (False, True):
        sdk = Google(front, asynchronous=asynchronous, key="sk-wrong")
        with pytest.raises(errors.ClientError) as wrong_key:
            await sdk.create("demo-chat", "Hi")
        await sdk.close()
        sdk = Google(front, asynchronous=asynchronous)
        with pytest.raises(errors.ClientError) as wrong_name:
            await sdk.create("demo-chatt", "Hi")
        await sdk.close()
        assert (wrong_key.value.code, wrong_key.value.status) == (401, "UNAUTHENTICATED")
        assert (wrong_name.value.code, wrong_name.value.status) == (404, "NOT_FOUND")
        assert "demo-chat" in str(wrong_name.value.message)


@pytest.mark.parametrize("text", ["fail:cut", "fail:error"])
async def test_a_stream_that_breaks_in_the_middle_raises(sdk, model, text):
    with pytest.raises(errors.ServerError, match="upstream provider"):
        await sdk.stream(model, text)


# Scripted upstreams.


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_and_its_cut_reach_the_sdk(dialect, asynchronous):
    async with in_front_of([spoken.streamed(dialect, "He", "llo")], dialect) as (front, _):
        sdk = Google(front, asynchronous=asynchronous)
        chunks = await sdk.stream("up/m", "Hi")
        await sdk.close()
    assert text_of(chunks).rstrip(" ") == "Hello"
    assert chunks[-1].usage_metadata.cached_content_token_count == spoken.CACHED
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
    async with in_front_of([begun, Cut()], dialect) as (front, _):
        sdk = Google(front, asynchronous=asynchronous)
        with pytest.raises(errors.ServerError, match="closed the stream early"):
            await sdk.stream("up/m", "Hi")
        await sdk.close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_blocked_prompt_reaches_the_sdk(asynchronous):
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"}
    script = [whole(json.dumps(blocked).encode(), **spoken.JSON)]
    async with in_front_of(script, "gemini") as (front, _):
        sdk = Google(front, asynchronous=asynchronous)
        answer = await sdk.create("up/m", "Hi")
        await sdk.close()
    assert answer.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    assert answer.candidates is None


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_refusal_is_told_as_safety(asynchronous):
    document = spoken.document("openai-chat")
    document["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "No."}
    script = [whole(json.dumps(document).encode(), **spoken.JSON)]
    async with in_front_of(script) as (front, _):
        sdk = Google(front, asynchronous=asynchronous)
        answer = await sdk.create("up/m", "Hi")
        await sdk.close()
    assert (finish_of(answer), answer.text) == ("SAFETY", "No.")


# Models.


async def test_models_are_listed_and_shown(sdk):
    if sdk.asynchronous:
        listed = [model async for model in await sdk.models.list()]
    else:
        listed = list(await sdk.call(sdk.models.list))
    names = {model.name for model in listed}
    assert {f"models/{model}" for model in MODELS.values()} <= names
    one = await sdk.call(sdk.models.get, model="models/demo-claude")
    assert one.name == "models/demo-claude"
    # The name that was listed can be called.
    assert (await sdk.create(one.name, "Good morning")).text
    with pytest.raises(errors.ClientError, match="demo-claude"):
        await sdk.call(sdk.models.get, model="demo-claud")
