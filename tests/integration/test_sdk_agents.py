"""OpenAI's Agents SDK: a loop of tools and a hand-over, on every upstream dialect, over either endpoint."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.integration.gateway import KEY
from tests.integration.sdk import MODELS, demo_gateway

# It reports to OpenAI what it does, unless it is told not to.
CONFIG = RunConfig(tracing_disabled=True)
asked: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    asked.append(city)
    return f"18 degrees and rain in {city}"


class Person(BaseModel):
    name: str
    age: int


@pytest_asyncio.fixture(
    params=[OpenAIResponsesModel, OpenAIChatCompletionsModel], ids=["responses", "chat"]
)
async def speaks(request):
    asked.clear()
    async with (
        demo_gateway() as front,
        AsyncOpenAI(base_url=f"{front.url}/v1", api_key=KEY, max_retries=0, timeout=10) as client,
    ):
        yield lambda name: request.param(model=name, openai_client=client)


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request) -> str:
    return str(request.param)


def agent(speaks: Any, model: str, **fields: Any) -> Agent:
    # What the SDK asks of a provider that keeps responses would be refused or dropped elsewhere.
    settings = fields.pop("model_settings", ModelSettings(store=False))
    return Agent(
        name="demo", instructions="Be kind.", model=speaks(model), model_settings=settings, **fields
    )


async def test_a_tool_is_called_and_its_result_is_told(speaks, model):
    result = await Runner.run(
        agent(speaks, model, tools=[get_weather]), "Please get_weather for Paris", run_config=CONFIG
    )
    assert asked == ["Paris"]
    assert "18 degrees and rain in Paris" in result.final_output
    # The whole of it goes in again with the next question.
    again = await Runner.run(
        agent(speaks, model, tools=[get_weather]),
        [*result.to_input_list(), {"role": "user", "content": "And now?"}],
        run_config=CONFIG,
    )
    assert "And now?" in again.final_output


async def test_a_loop_is_streamed(speaks, model):
    run = Runner.run_streamed(
        agent(speaks, model, tools=[get_weather]), "Please get_weather for Paris", run_config=CONFIG
    )
    deltas = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert asked == ["Paris"]
    assert "18 degrees and rain in Paris" in run.final_output
    assert "".join(deltas).endswith(run.final_output)


async def test_thinking_goes_round_the_loop(speaks, model):
    settings = ModelSettings(store=False, response_include=["reasoning.encrypted_content"])
    result = await Runner.run(
        agent(speaks, f"{model}-thinking", tools=[get_weather], model_settings=settings),
        "Please get_weather for Paris",
        run_config=CONFIG,
    )
    assert "18 degrees and rain in Paris" in result.final_output


async def test_an_answer_has_the_shape_that_was_asked_for(speaks, model):
    result = await Runner.run(
        agent(speaks, model, output_type=Person),
        'A person called "Ada" of 36 years',
        run_config=CONFIG,
    )
    assert result.final_output == Person(name="Ada", age=36)
