"""The routes as OpenAPI 3.1 describes them: a table of what each takes and answers, and openapi.json beside it for the shapes.

A route that is added to ``proxy.server.routes`` wants a line in ``OPERATIONS``; a test tells which is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from proxy.server import media

Words = Literal["OpenAI", "Anthropic", "Gemini"]
"""In whose words errors are told."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one route does; ``body``, ``answer`` and ``event`` are names of shapes.

    ``event`` is what each event of a stream holds. ``answers`` is the content type of the answer.
    """

    tag: str
    summary: str
    answer: str
    body: str | None = None
    event: str | None = None
    array: bool = False
    """Without ``alt=sse`` the stream is an array of events."""
    words: Words = "OpenAI"
    statuses: tuple[int, ...] = ()
    """Of its errors."""
    keyed: bool = True
    query: tuple[str, ...] = ()
    answers: str = "application/json"
    takes: tuple[str, ...] = ("application/json",)
    """The content types of the body."""


_KEYED = (401, 403, 429, 500)
_READ = (400, *_KEYED, 503)
_COUNT = (400, 401, 403, 404, 408, 413, 415, 429, 500, 502, 503, 504)
_CALL = (*_COUNT, 402)


def _call(tag: str, words: Words, summary: str, body: str, answer: str, **more: Any) -> Operation:
    statuses = (*_CALL, 529) if words == "Anthropic" else _CALL
    return Operation(tag, summary, answer, body, words=words, **{"statuses": statuses, **more})


def _gemini(version: str) -> dict[str, Operation]:
    """Return what Google's SDKs call; newer ones call v1, older ones v1beta."""
    model, tag = f"POST /{version}/models/{{id}}:", "Gemini"
    return {
        f"{model}generateContent": _call(
            tag, "Gemini", "Answer a conversation", "GeminiRequest", "GeminiAnswer"
        ),
        f"{model}streamGenerateContent": _call(
            tag, "Gemini", "Answer it as a stream", "GeminiRequest", "GeminiEvent",
            event="GeminiEvent", array=True, query=("alt",),
        ),
        f"{model}countTokens": _call(
            tag, "Gemini", "Count the tokens of a request", "GeminiCountRequest", "GeminiCountAnswer", statuses=_COUNT
        ),
        f"{model}embedContent": _call(
            "Embeddings", "Gemini", "Embed one text", "GeminiEmbedRequest", "GeminiEmbedAnswer"
        ),
        f"{model}batchEmbedContents": _call(
            "Embeddings", "Gemini", "Embed several texts", "GeminiBatchEmbedRequest", "GeminiBatchEmbedAnswer"
        ),
    }  # fmt: skip


def _models(version: str, words: Words) -> dict[str, Operation]:
    path, statuses = f"GET /{version}/models", (*_KEYED, 404)
    return {
        path: Operation(
            "Models", "List the models that this key may call", "ModelList", words=words, statuses=_KEYED
        ),
        f"{path}/{{id}}": Operation(
            "Models", "Tell of one model", "Model", words=words, statuses=statuses
        ),
    }  # fmt: skip


def _open(summary: str, answer: str, **more: Any) -> Operation:
    return Operation("Open to all", summary, answer, keyed=False, **more)


_FORM = "multipart/form-data"
_TAKES: Mapping[media.Takes, tuple[str, ...]] = {
    "json": ("application/json",),
    "form": (_FORM,),
    "either": ("application/json", _FORM),
}
_ANSWERS = {"/v1/audio/speech": "audio/*"}


def _passed(path: str, method: str, surface: media.Surface) -> Operation:
    """Return what is told of a call that is passed on: its shapes are the provider's."""
    takes = _TAKES.get(surface.takes)
    streams = path in ("/v1/completions", "/v1/images/generations", "/v1/images/edits")
    return Operation(
        "Passed on",
        _SUMMARIES[f"{method} {path}"],
        "Anything",
        "Anything" if takes is not None else None,
        event="Anything" if streams else None,
        statuses=_CALL,
        query=("limit", "after", "order") if surface.lists is not None else (),
        answers="application/octet-stream"
        if surface.raw
        else _ANSWERS.get(path, "application/json"),
        takes=takes or (),
    )


_SUMMARIES: Mapping[str, str] = {
    "POST /v1/completions": "Continue a text",
    "POST /v1/moderations": "Tell what is harmful in a text or a picture",
    "POST /v1/rerank": "Order documents by how well they answer",
    "POST /v1/images/generations": "Make pictures",
    "POST /v1/images/edits": "Change a picture",
    "POST /v1/images/variations": "Make pictures like one",
    "POST /v1/audio/speech": "Read a text aloud",
    "POST /v1/audio/transcriptions": "Write down what is said",
    "POST /v1/audio/translations": "Write down in English what is said",
    "POST /v1/files": "Store a file with a provider",
    "GET /v1/files": "List the files of this key",
    "GET /v1/files/{id}": "Tell of a file",
    "DELETE /v1/files/{id}": "Delete a file",
    "GET /v1/files/{id}/content": "Fetch a file",
    "POST /v1/batches": "Start a batch",
    "GET /v1/batches": "List the batches of this key",
    "GET /v1/batches/{id}": "Tell of a batch",
    "POST /v1/batches/{id}/cancel": "Stop a batch",
    "POST /v1/videos": "Start making a video",
    "GET /v1/videos": "List the videos of this key",
    "POST /v1/videos/edits": "Start changing a video",
    "POST /v1/videos/extensions": "Start making a video longer",
    "GET /v1/videos/{id}": "Tell of a video",
    "DELETE /v1/videos/{id}": "Delete a video",
    "GET /v1/videos/{id}/content": "Fetch a video",
    "POST /v1/videos/{id}/remix": "Start making a video anew",
}


OPERATIONS: Mapping[str, Operation] = {
    "POST /v1/chat/completions": _call(
        "Chat", "OpenAI", "Answer a conversation", "ChatRequest", "ChatAnswer", event="ChatEvent"
    ),
    "POST /v1/messages": _call(
        "Messages", "Anthropic", "Answer a conversation", "MessagesRequest", "MessagesAnswer", event="MessagesEvent"
    ),
    "POST /v1/messages/count_tokens": _call(
        "Messages", "Anthropic", "Count the tokens of a request", "MessagesCountRequest", "MessagesCountAnswer",
        statuses=(*_COUNT, 529),
    ),
    "POST /v1/responses": _call(
        "Responses", "OpenAI", "Answer a conversation", "ResponsesRequest", "ResponsesAnswer", event="ResponsesEvent"
    ),
    **_gemini("v1"),
    **_gemini("v1beta"),
    "POST /v1/embeddings": _call(
        "Embeddings", "OpenAI", "Embed texts", "EmbeddingsRequest", "EmbeddingsAnswer"
    ),
    **{
        f"{method} {path}": _passed(path, method, surface)
        for path, verbs in media.PATHS.items()
        for method, surface in verbs.items()
    },
    **_models("v1", "OpenAI"),
    **_models("v1beta", "Gemini"),
    "GET /v1/usage": Operation(
        "Usage", "Add up what this key has used", "Usage", statuses=_READ, query=("start", "end")
    ),
    "GET /v1/usage/requests": Operation(
        "Usage", "List the requests of this key, the newest first", "UsageHistory", statuses=_READ, query=("limit", "before")
    ),
    "GET /v1/usage/{id}": Operation(
        "Usage", "Tell what one request used and cost", "UsageOfRequest", statuses=(*_READ, 404)
    ),
    "GET /v1/key": Operation(
        "Usage", "Tell the limits of this key and what is left of them", "Key", statuses=_KEYED
    ),
    "GET /": _open("The front page", "Text", answers="text/plain"),
    "GET /api/hello": _open("Warm a connection up", "Hello"),
    "GET /healthz": _open("Whether the gateway is alive", "Status"),
    "GET /readyz": _open("Whether it takes calls; 503 while it does not", "Status"),
    "GET /openapi.json": _open("This document", "Described"),
    "GET /llms.txt": _open("An index of the pages on how to call", "Text", answers="text/plain"),
    "GET /llms-full.txt": _open("All these pages in one", "Text", answers="text/plain"),
    "GET /docs/{id}": _open(
        "One of these pages", "Text", answers="text/markdown", statuses=(404,)
    ),
}  # fmt: skip

STATUSES: Mapping[int, str] = {
    400: "The request is not valid, or the model's provider does not take it; `param` names the place.",
    401: "There is no key, none that is known, or two different ones.",
    402: "The credit of the key or its team does not cover the call.",
    403: "The key is disabled or expired, or may not be used from here or for this model.",
    404: "There is no such model or object; for a model the nearest names are told.",
    408: "The body came too slowly.",
    413: "The body, or the prompt, is too large.",
    415: "The body is compressed: send it as it is.",
    429: "A limit or budget of the key, or every account of the provider is at its limit.",
    500: "The gateway failed.",
    502: "The provider failed.",
    503: "No provider is available at the moment, or the gateway takes no calls.",
    504: "The provider took too long.",
    529: "The provider is overloaded; told where an Anthropic client meets Anthropic.",
}

_WAITS = (429, 503, 529)
_HEADERS: Mapping[str, str] = {
    "x-request-id": "The id of the request, by which `GET /v1/usage/{id}` knows it.",
    "retry-after": "Seconds after which to try again.",
    "x-should-retry": "`false` where trying again soon is of no use.",
    "server-timing": "Where the time went, in milliseconds.",
    "x-splice-dropped": "Parameters that the model's provider does not take and that were left out.",
    "x-splice-cost-usd": "What the call cost, in USD. Not on streams.",
    "x-splice-tokens-input": "Without those of the cache. Not on streams.",
    "x-splice-tokens-output": "Reasoning among them. Not on streams.",
    "x-splice-tokens-cache-read": "Not on streams.",
    "x-splice-tokens-cache-write": "Not on streams.",
    "x-ratelimit-limit-requests": "Requests a minute, where the key has such a limit.",
    "x-ratelimit-remaining-requests": "What is left of it.",
    "x-ratelimit-reset-requests": "Until it is whole again, such as `6m0s`.",
    "x-ratelimit-limit-tokens": "Tokens a minute, where the key has such a limit.",
    "x-ratelimit-remaining-tokens": "What is left of it.",
    "x-ratelimit-reset-tokens": "Until it is whole again.",
}
_ALWAYS = ("x-request-id",)
_OF_CALLS = tuple(name for name in _HEADERS if name.startswith(("server-", "x-splice-", "x-rate")))

_PARAMETERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "alt": ("`sse` for events; else the stream is one JSON array.", {"enum": ["sse"]}),
    "start": ("The first day, UTC; by default of this month.", {"type": "string", "format": "date"}),
    "end": ("The last day.", {"type": "string", "format": "date"}),
    "limit": ("Of a page.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    "before": ("The `last_id` of the page before.", {"type": "string"}),
    "after": ("The `last_id` of the page before.", {"type": "string"}),
    "order": ("By when it was made; by default the newest first.", {"enum": ["asc", "desc"]}),
}  # fmt: skip
_NAMES: Mapping[str, str] = {
    "models": "The name of a model; it may hold slashes, as they are.",
    "usage": "The id of a request, or of the answer to it (`chatcmpl-…`, `msg_…`, `resp_…`).",
    "files": "The id of a file of this key.",
    "batches": "The id of a batch of this key.",
    "videos": "The id of a video of this key.",
    "docs": "A page that `/llms.txt` names, such as `chat.md`.",
}
"""What stands for ``{id}``, by the word in front of it."""

_SECURITY: Mapping[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "x-goog-api-key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "key": {"type": "apiKey", "in": "query", "name": "key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the user name."},
}

_SHAPES = Path(__file__).with_name("openapi.json")


def document(version: str, base: str) -> bytes:
    """Return the description of every route of ``OPERATIONS``, served at ``base``."""
    paths: dict[str, dict[str, Any]] = {}
    for route, operation in OPERATIONS.items():
        method, _, path = route.partition(" ")
        paths.setdefault(path, {})[method.lower()] = _described(method, path, operation)
    told = {(one.words, status) for one in OPERATIONS.values() for status in one.statuses}
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Splice",
                "version": version,
                "description": "One URL and one key for every model. Every GET is a HEAD too, and every path takes OPTIONS.",
            },
            "servers": [{"url": base}],
            "security": [{name: []} for name in _SECURITY],
            "paths": paths,
            "components": {
                "schemas": orjson.loads(_SHAPES.read_bytes()),
                "responses": {
                    f"{words}{status}": _failed(words, status) for words, status in sorted(told)
                },
                "headers": {
                    name: {"description": text, "schema": {"type": "string"}, "required": name in _ALWAYS}
                    for name, text in _HEADERS.items()
                },
                "securitySchemes": _SECURITY,
            },
        }
    )  # fmt: skip


def _described(method: str, path: str, operation: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "parameters": [*_in_path(path), *map(_in_query, operation.query)],
        "responses": {
            "200": _answered(operation),
            **{
                str(status): {"$ref": f"#/components/responses/{operation.words}{status}"}
                for status in sorted(operation.statuses)
            },
        },
    }
    if operation.body is not None:
        said["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": _shape(operation.body)} for kind in operation.takes},
        }
    if not operation.keyed:
        said["security"] = []
    if path == "/readyz":
        said["responses"]["503"] = _answered(operation)
    return said


def _answered(operation: Operation) -> dict[str, Any]:
    called = operation.body is not None
    schema = _shape(operation.answer)
    content = {operation.answers: {"schema": schema}}
    if operation.array:
        content["application/json"]["schema"] = {"type": "array", "items": schema}
    if operation.event is not None:
        content["text/event-stream"] = {
            "schema": {
                "type": "string",
                "description": "Server-sent events; the data of each is such a document.",
                "contentMediaType": "application/json",
                "contentSchema": _shape(operation.event),
            }
        }
    return {
        "description": operation.summary,
        "headers": _headers(*_ALWAYS, *(_OF_CALLS if called else ())),
        "content": content,
    }


def _failed(words: Words, status: int) -> dict[str, Any]:
    waits = ("retry-after", "x-should-retry") if status in _WAITS else ()
    return {
        "description": STATUSES[status],
        "headers": _headers(*_ALWAYS, *waits),
        "content": {"application/json": {"schema": _shape(f"{words}Error")}},
    }


def _shape(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _in_path(path: str) -> list[dict[str, Any]]:
    before, named, _ = path.partition("/{id}")
    if not named:
        return []
    said = _NAMES[before.rpartition("/")[2]]
    return [
        {"name": "id", "in": "path", "required": True, "description": said, "schema": {"type": "string"}}
    ]  # fmt: skip


def _in_query(name: str) -> dict[str, Any]:
    said, schema = _PARAMETERS[name]
    return {"name": name, "in": "query", "description": said, "schema": schema}
