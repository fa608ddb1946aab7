"""Every route that takes a JSON body, in front of one upstream that answers in every dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.integration import spoken
from tests.integration.gateway import Gateway, config_text, gateway, upstream
from tests.integration.scripted import Request, Scripted, whole

PROVIDERS = {"c": "openai-chat", "r": "openai-responses", "a": "anthropic", "g": "gemini"}
"""Each dialect's provider; all of them are the same upstream."""
GENERATING = "cgra"
EMBEDDING = "cg"


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` is where it is asked with a model; ``body`` makes a request of a model, a text, and further members."""

    name: str
    path: Callable[[str], str]
    body: Callable[[str, str], dict[str, Any]]
    providers: str
    native: str
    """The provider that is sent the very bytes."""


def _of_chat(model: str, said: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": said}], "max_tokens": 9}


def _of_gemini(_: str, said: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": said}]}]}


def _gemini(method: str, providers: str, body: Callable[[str, str], dict[str, Any]]) -> Route:
    return Route(
        method, lambda model: f"/v1beta/models/{model}:{method}?alt=sse", body, providers, "g"
    )


ROUTES = (
    Route("chat", lambda _: "/v1/chat/completions", _of_chat, GENERATING, "c"),
    Route("messages", lambda _: "/v1/messages", _of_chat, GENERATING, "a"),
    Route("count_tokens", lambda _: "/v1/messages/count_tokens", _of_chat, GENERATING, "a"),
    Route("responses", lambda _: "/v1/responses", lambda model, said: {"model": model, "input": said}, GENERATING, "r"),
    Route("embeddings", lambda _: "/v1/embeddings", lambda model, said: {"model": model, "input": [said]}, EMBEDDING, "c"),
    _gemini("generateContent", GENERATING, _of_gemini),
    _gemini("streamGenerateContent", GENERATING, _of_gemini),
    _gemini("countTokens", GENERATING, _of_gemini),
    _gemini("embedContent", EMBEDDING, lambda _, said: {"content": {"parts": [{"text": said}]}}),
    _gemini("batchEmbedContents", EMBEDDING, lambda _, said: {"requests": [{"content": {"parts": [{"text": said}]}}]}),
)  # fmt: skip

_NUMBERS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
_ANSWERS: dict[str, dict[str, Any]] = {
    "count_tokens": {"input_tokens": 5},
    "input_tokens": {"input_tokens": 5},
    "countTokens": {"totalTokens": 5},
    "embeddings": _NUMBERS,
    "embedContent": {"embedding": {"values": [0.5, 1]}},
    "batchEmbedContents": {"embeddings": [{"values": [0.5, 1]}]},
}


async def _answer(reader: Any, writer: Any, asked: Request) -> None:
    """Answer in the dialect and the form that the path and the body ask for."""
    path = asked.target.partition("?")[0]
    last = path.replace(":", "/").rpartition("/")[2]
    found = _ANSWERS.get(last)
    if found is not None:
        writer.write(whole(json.dumps(found).encode(), **spoken.JSON))
        return
    dialect = {
        "completions": "openai-chat",
        "messages": "anthropic",
        "responses": "openai-responses",
    }
    told = dialect.get(last, "gemini")
    streams = b'"stream":true' in asked.body.replace(b" ", b"") or "stream" in asked.target
    writer.write((spoken.streamed if streams else spoken.told)(told))


@asynccontextmanager
async def everywhere(*tables: str, **sections: str) -> AsyncIterator[tuple[Gateway, Scripted]]:
    """Run a gateway with models ``c/…``, ``r/…``, ``a/…`` and ``g/…``."""
    async with Scripted(_answer) as up:
        providers = [upstream(up.url, dialect, name) for name, dialect in PROVIDERS.items()]
        async with gateway(config_text(*providers, *tables, **sections)) as front:
            yield front, up
