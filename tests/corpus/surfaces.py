"""The client surfaces: how each is asked, and what its official SDK makes of the gateway's bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors

from proxy.providers import Dialect
from tests.corpus.reading import Tokens, Told
from tests.integration.wire import Answered

_PICTURE = re.compile(r"!\[[^]]*\]\(data:[^)]*\)")
"""How an image is told in a dialect whose answers have none: as Markdown."""


class Played(httpx2.AsyncBaseTransport):
    """Gives an SDK the bytes that the gateway has answered."""

    def __init__(self) -> None:
        self.answered: Answered | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert self.answered is not None
        headers = {
            k: v
            for k, v in self.answered.headers.items()
            if k not in ("transfer-encoding", "content-length")
        }
        return httpx2.Response(self.answered.status, headers=headers, content=self.answered.body)


@dataclass(frozen=True, slots=True)
class Failed:
    """What an SDK raised: the HTTP status (200 inside a stream, except to Google's), OpenAI's code or None, and the type."""

    status: int
    code: str | None
    kind: str | None


Heard = Told | Failed


class Sdks:
    """The SDKs, on a transport that plays answers."""

    def __init__(self) -> None:
        self._played = Played()
        self._http = httpx2.AsyncClient(transport=self._played, trust_env=False)
        base = {"api_key": "k", "http_client": self._http, "max_retries": 0}
        self._openai = openai.AsyncOpenAI(base_url="http://gateway/v1", **base)  # type: ignore[arg-type]
        self._anthropic = anthropic.AsyncAnthropic(base_url="http://gateway", **base)  # type: ignore[arg-type]
        options: Any = {"base_url": "http://gateway", "httpx_async_client": self._http}
        self._google: Any = genai.Client(api_key="k", http_options=options).aio.models

    async def close(self) -> None:
        await self._http.aclose()

    async def chat(self, answered: Answered, *, stream: bool) -> Heard:
        """Return what the OpenAI SDK hears."""
        self._played.answered = answered
        create = self._openai.chat.completions.create
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        try:
            if not stream:
                return _chat_document(await create(**asked))
            chunks = [chunk async for chunk in await create(**asked, stream=True)]
        except openai.APIStatusError as error:
            return Failed(error.status_code, error.code, error.type)
        except openai.APIError as error:
            return Failed(200, error.code, error.type)
        return _chat_stream(chunks)

    async def messages(self, answered: Answered, *, stream: bool) -> Heard:
        """Return what the Anthropic SDK hears."""
        self._played.answered = answered
        asked: Any = {
            "model": "m",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "Hi"}],
        }
        written: dict[int, str] = {}
        try:
            if not stream:
                return _message(await self._anthropic.messages.create(**asked), written)
            async with self._anthropic.messages.stream(**asked) as events:
                async for event in events:
                    if (
                        event.type == "content_block_delta"
                        and event.delta.type == "input_json_delta"
                    ):
                        written[event.index] = (
                            written.get(event.index, "") + event.delta.partial_json
                        )
                return _message(await events.get_final_message(), written)
        except anthropic.APIStatusError as error:
            body: Any = error.body
            told = body.get("error") if isinstance(body, dict) else None
            kind = told.get("type") if isinstance(told, dict) else None
            return Failed(error.status_code, None, kind)

    async def responses(self, answered: Answered, *, stream: bool) -> Heard:
        """Return what the OpenAI SDK hears on its other endpoint."""
        self._played.answered = answered
        asked: Any = {"model": "m", "input": "Hi"}
        try:
            if not stream:
                return _response(await self._openai.responses.create(**asked))
            events = [
                event async for event in await self._openai.responses.create(**asked, stream=True)
            ]
        except openai.APIStatusError as error:
            return Failed(error.status_code, error.code, error.type)
        except openai.APIError as error:
            return Failed(200, error.code, error.type)
        return _response_stream(events)

    async def gemini(self, answered: Answered, *, stream: bool) -> Heard:
        """Return what Google's SDK hears."""
        self._played.answered = answered
        asked: Any = {"model": "m", "contents": "Hi"}
        try:
            if not stream:
                return _gemini([await self._google.generate_content(**asked)])
            chunks = await self._google.generate_content_stream(**asked)
            return _gemini([chunk async for chunk in chunks])
        except errors.APIError as error:
            return Failed(error.code, None, error.status)


@dataclass(frozen=True, slots=True)
class Surface:
    """``native`` is the upstream dialect whose answers it passes on."""

    name: str
    native: Dialect
    path: str
    hear: Callable[..., Awaitable[Heard]]

    def address(self, model: str, *, stream: bool) -> str:
        """Return the path of a request."""
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return self.path.format(model=model, method=method)

    def body(self, model: str, *, stream: bool, include_usage: bool) -> dict[str, Any]:
        """Return a small request."""
        if self.name == "gemini":
            return {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
        body: dict[str, Any] = {"model": model}
        if self.name == "responses":
            body["input"] = "Hi"
        else:
            body["messages"] = [{"role": "user", "content": "Hi"}]
        if self.name == "messages":
            body["max_tokens"] = 4096
        if stream:
            body["stream"] = True
            if self.name == "chat" and include_usage:
                body["stream_options"] = {"include_usage": True}
        return body


SURFACES = {
    "chat": Surface("chat", "openai-chat", "/v1/chat/completions", Sdks.chat),
    "messages": Surface("messages", "anthropic", "/v1/messages", Sdks.messages),
    "responses": Surface("responses", "openai-responses", "/v1/responses", Sdks.responses),
    "gemini": Surface("gemini", "gemini", "/v1beta/models/{model}:{method}", Sdks.gemini),
}


def _chat_document(completion: Any) -> Told:
    choice = completion.choices[0]
    told = Told(
        text=choice.message.content or "",
        finish=choice.finish_reason,
        refusal=choice.message.refusal or "",
    )
    told.reasoning = (choice.message.model_extra or {}).get("reasoning_content") or ""
    told.images = len((choice.message.model_extra or {}).get("images") or [])
    told.calls = [_called(call) for call in choice.message.tool_calls or []]
    told.tokens = _chat_tokens(completion.usage)
    return told


def _chat_stream(chunks: list[Any]) -> Told:
    told = Told(cut=True)
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        told.tokens = _chat_tokens(chunk.usage) or told.tokens
        for choice in chunk.choices:
            if choice.index:
                continue
            told.text += choice.delta.content or ""
            told.refusal += choice.delta.refusal or ""
            told.reasoning += (choice.delta.model_extra or {}).get("reasoning_content") or ""
            told.images += len((choice.delta.model_extra or {}).get("images") or [])
            for call in choice.delta.tool_calls or []:
                known = calls.setdefault(call.index, ["", ""])
                known[0] += call.function.name or ""
                known[1] += call.function.arguments or ""
            if choice.finish_reason:
                told.finish, told.cut = choice.finish_reason, False
    told.calls = [(name, arguments) for name, arguments in calls.values()]
    return told


def _called(call: Any) -> tuple[str, str]:
    if call.type == "custom":
        return call.custom.name, call.custom.input
    return call.function.name, call.function.arguments


def _chat_tokens(usage: Any) -> Tokens | None:
    if usage is None:
        return None
    return Tokens(
        prompt=usage.prompt_tokens,
        cached=usage.prompt_tokens_details.cached_tokens,
        written=usage.prompt_tokens_details.cache_write_tokens or 0,
        completion=usage.completion_tokens,
        reasoning=usage.completion_tokens_details.reasoning_tokens,
    )


def _message(message: Any, written: dict[int, str]) -> Told:
    """``written`` holds the arguments as they were streamed, by the index of their block."""
    told = Told(finish=message.stop_reason)
    for index, block in enumerate(message.content):
        match block.type:
            case "text":
                told.text += block.text
            case "thinking":
                told.reasoning += block.thinking
            case "tool_use":
                told.calls.append((block.name, written.get(index) or json.dumps(block.input)))
            case _:
                pass
    told.text, told.images = _PICTURE.subn("", told.text)
    told.explanation = (message.stop_details.explanation or "") if message.stop_details else ""
    usage = message.usage
    cached, made = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    told.tokens = Tokens(
        prompt=usage.input_tokens + cached + made,
        cached=cached,
        written=made,
        completion=usage.output_tokens,
        reasoning=(details.thinking_tokens or 0) if details is not None else 0,
    )
    return told


def _response_stream(events: list[Any]) -> Heard:
    """Return what a stream told, if its pieces are what its last event says that they were."""
    if not events or events[-1].type not in _LAST:
        return Told(cut=True)
    last = events[-1].response
    if last.status == "failed":
        return Failed(200, last.error.code, None)
    told = _response(last)
    arguments = "".join(item.arguments for item in last.output if item.type == "function_call")
    for kind, whole in (
        ("response.output_text.delta", told.text),
        ("response.refusal.delta", told.refusal),
        ("response.reasoning_summary_text.delta", told.reasoning),
        ("response.function_call_arguments.delta", arguments),
    ):
        pieces = "".join(event.delta for event in events if event.type == kind)
        assert pieces == whole, f"{kind}: {pieces[:100]!r}, at the end {whole[:100]!r}"
    return told


_LAST = ("response.completed", "response.incomplete", "response.failed")


def _response(response: Any) -> Told:
    told = Told(finish=response.status)
    if response.incomplete_details is not None:
        told.finish = response.incomplete_details.reason
    for item in response.output:
        match item.type:
            case "message":
                for part in item.content:
                    if part.type == "refusal":
                        told.refusal += part.refusal
                    else:
                        told.text += part.text
            case "reasoning":
                told.reasoning += "".join(part.text for part in item.summary)
            case "function_call":
                told.calls.append((item.name, item.arguments))
            case "custom_tool_call":
                told.calls.append((item.name, item.input))
            case "image_generation_call":
                told.images += 1
            case _:
                pass
    usage = response.usage
    if usage is not None:
        told.tokens = Tokens(
            prompt=usage.input_tokens,
            cached=usage.input_tokens_details.cached_tokens,
            written=usage.input_tokens_details.cache_write_tokens or 0,
            completion=usage.output_tokens,
            reasoning=usage.output_tokens_details.reasoning_tokens,
        )
    return told


def _gemini(chunks: list[Any]) -> Told:
    told = Told(cut=True)
    for chunk in chunks:
        for candidate in chunk.candidates or []:
            if candidate.index:
                continue
            for part in (candidate.content.parts or []) if candidate.content else []:
                if part.function_call is not None:
                    call = part.function_call
                    told.calls.append((call.name, json.dumps(call.args)))
                elif part.thought:
                    told.reasoning += part.text or ""
                else:
                    told.text += part.text or ""
                    told.images += part.inline_data is not None
            if candidate.finish_reason is not None:
                told.finish, told.cut = candidate.finish_reason.value, False
        told.tokens = _gemini_tokens(chunk.usage_metadata) or told.tokens
    return told


def _gemini_tokens(usage: Any) -> Tokens | None:
    if usage is None:
        return None
    thoughts = usage.thoughts_token_count or 0
    return Tokens(
        prompt=usage.prompt_token_count,
        cached=usage.cached_content_token_count or 0,
        completion=(usage.candidates_token_count or 0) + thoughts,
        reasoning=thoughts,
    )
