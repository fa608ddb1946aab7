"""A demo provider without pace, and an official client for each of its dialects."""

import aiohttp
import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from proxy import demo


@pytest.fixture
async def provider():
    running = await demo.start(words_per_second=0)
    yield running
    await running.close()


@pytest.fixture
async def http(provider):
    async with aiohttp.ClientSession(provider.url) as session:
        yield session


@pytest.fixture
async def openai_client(provider):
    base_url = f"{provider.url}/v1"
    async with openai.AsyncOpenAI(api_key="k", base_url=base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(provider):
    async with anthropic.AsyncAnthropic(
        api_key="k", base_url=provider.url, max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def gemini_client(provider):
    options = types.HttpOptions(base_url=provider.url)
    async with genai.Client(api_key="k", http_options=options).aio as client:
        yield client
