"""The official SDKs, each in its synchronous and its asynchronous form, behind one awaitable face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types

from proxy import demo
from proxy.config import key_hash
from tests.integration.gateway import KEY, Gateway, gateway

MODELS = {
    "openai-chat": "demo-chat",
    "openai-responses": "demo-gpt",
    "anthropic": "demo-claude",
    "gemini": "demo-gemini",
}
"""The demo's model behind each upstream dialect."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""


@asynccontextmanager
async def demo_gateway() -> AsyncIterator[Gateway]:
    """Run the gateway in front of the demo provider, which answers at once."""
    provider = await demo.start(words_per_second=0)
    try:
        text = demo.config_text(provider.url, 0, key_hash(KEY), "state")
        # Two listeners on port 0 are taken for one address.
        async with gateway(
            text.replace('[admin]\nlisten = ["127.0.0.1:0"]', "[admin]\nlisten = []")
        ) as front:
            yield front
    finally:
        await provider.close()


class OpenAI:
    """``wait`` is how long a test may be held up by one call; nothing is tried twice."""

    def __init__(
        self, front: Gateway, *, asynchronous: bool, base: str = "/v1", key: str = KEY
    ) -> None:
        self.asynchronous = asynchronous
        options: dict[str, Any] = {
            "base_url": front.url + base,
            "api_key": key,
            "max_retries": 0,
            "timeout": 10,
        }
        self.client: Any = (
            openai.AsyncOpenAI(**options) if asynchronous else openai.OpenAI(**options)
        )

    async def create(self, **fields: Any) -> Any:
        return await self.call(self.client.chat.completions.create, **fields)

    async def stream(self, **fields: Any) -> list[Any]:
        """Return the chunks of a stream."""
        return await drain(self, self.client.chat.completions.create, stream=True, **fields)

    async def call(self, method: Any, *args: Any, **fields: Any) -> Any:
        if self.asynchronous:
            return await method(*args, **fields)
        return await asyncio.to_thread(method, *args, **fields)

    async def close(self) -> None:
        await self.call(self.client.close)


class Anthropic:
    def __init__(
        self, front: Gateway, *, asynchronous: bool, base: str = "", key: str = KEY
    ) -> None:
        self.asynchronous = asynchronous
        options: dict[str, Any] = {
            "base_url": front.url + base,
            "api_key": key,
            "max_retries": 0,
            "timeout": 10,
        }
        self.client: Any = (
            anthropic.AsyncAnthropic(**options) if asynchronous else anthropic.Anthropic(**options)
        )

    async def create(self, **fields: Any) -> Any:
        fields.setdefault("max_tokens", 8000)
        return await self.call(self.client.messages.create, **fields)

    async def stream(self, **fields: Any) -> list[Any]:
        """Return the events of a stream."""
        fields.setdefault("max_tokens", 8000)
        return await drain(self, self.client.messages.create, stream=True, **fields)

    async def final(self, **fields: Any) -> Any:
        """Return the message that the SDK puts together from a stream."""
        fields.setdefault("max_tokens", 8000)
        if self.asynchronous:
            async with self.client.messages.stream(**fields) as stream:
                return await stream.get_final_message()

        def run() -> Any:
            with self.client.messages.stream(**fields) as stream:
                return stream.get_final_message()

        return await asyncio.to_thread(run)

    async def call(self, method: Any, *args: Any, **fields: Any) -> Any:
        if self.asynchronous:
            return await method(*args, **fields)
        return await asyncio.to_thread(method, *args, **fields)

    async def close(self) -> None:
        await self.call(self.client.close)


class Google:
    """``google-genai``; the model comes first, as everywhere in it."""

    def __init__(
        self, front: Gateway, *, asynchronous: bool, key: str = KEY, base: str = ""
    ) -> None:
        self.asynchronous = asynchronous
        # Milliseconds.
        options = types.HttpOptions(base_url=front.url + base, timeout=10_000)
        self._client = genai.Client(api_key=key, http_options=options)
        self.models: Any = self._client.aio.models if asynchronous else self._client.models

    async def create(self, model: str, contents: Any, **config: Any) -> Any:
        return await self.call(
            self.models.generate_content, model=model, contents=contents, config=config
        )

    async def stream(self, model: str, contents: Any, **config: Any) -> list[Any]:
        """Return the chunks of a stream."""
        stream = self.models.generate_content_stream
        fields = {"model": model, "contents": contents, "config": config}
        if self.asynchronous:
            return [chunk async for chunk in await stream(**fields)]
        return await asyncio.to_thread(lambda: list(stream(**fields)))

    async def call(self, method: Any, **fields: Any) -> Any:
        if self.asynchronous:
            return await method(**fields)
        return await asyncio.to_thread(method, **fields)

    async def close(self) -> None:
        await self._client.aio.aclose()
        await asyncio.to_thread(self._client.close)


async def drain(sdk: OpenAI | Anthropic, method: Any, **fields: Any) -> list[Any]:
    if sdk.asynchronous:
        async with await method(**fields) as stream:
            return [item async for item in stream]

    def run() -> list[Any]:
        with method(**fields) as stream:
            return list(stream)

    return await asyncio.to_thread(run)


def user(said: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": said}]
