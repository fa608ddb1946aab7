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

Words = Literal["OpenAI", "Anthropic", "Gemini", "Any"]
"""In whose words errors are told; in native mode, in the provider's."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one route does; ``body``, ``answer`` and ``event`` are names of shapes.

    ``event`` is what each event of a stream holds. ``answers`` is the content type of the answer.
    """

    tag: str
    summary: str
    answer: str
    body: str | None = None
    form: str | None = None
    """What it takes as multipart/form-data, beside the JSON of ``body`` or instead."""
    bytes: bool = False
    """It takes whatever there is."""
    event: str | None = None
    array: bool = False
    """Without ``alt=sse`` the stream is an array of events."""
    text: bool = False
    """It can be asked for as plain text."""
    words: Words = "OpenAI"
    statuses: tuple[int, ...] = ()
    """Of its errors."""
    keyed: bool = True
    query: tuple[str, ...] = ()
    answers: str = "application/json"


_KEYED = (401, 403, 429, 500)
_READ = (400, *_KEYED, 503)
_STORED = (*_READ, 404, 502, 504)
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
    path, anthropics, googles = (
        f"GET /{version}/models",
        ("limit", "after_id", "before_id"),
        ("pageSize", "pageToken"),
    )
    return {
        path: Operation(
            "Models", "List the models that this key may call", "ModelList", words=words, statuses=(400, *_KEYED),
            query=googles if words == "Gemini" else (*anthropics, *googles),
        ),
        f"{path}/{{id}}": Operation(
            "Models", "Tell of one model", "Model", words=words, statuses=(*_KEYED, 404)
        ),
    }  # fmt: skip


def _stored(summary: str, answer: str, **more: Any) -> Operation:
    return Operation("Responses", summary, answer, statuses=_STORED, **more)


def _passed(tag: str, summary: str, answer: str, **more: Any) -> Operation:
    return Operation(tag, summary, answer, **{"statuses": _CALL, **more})


def _kept(tag: str, summary: str, answer: str, **more: Any) -> Operation:
    """Return what is done with an object that a provider keeps for this key, at no cost."""
    return _passed(tag, summary, answer, statuses=_COUNT, **more)


_LISTED = ("limit", "after", "order")
_VIDEO = {"body": "VideoRequest", "form": "VideoForm"}
_HEARD = {"form": "AudioForm", "event": "TranscriptEvent", "text": True}
_PASSED: Mapping[str, Operation] = {
    "POST /v1/completions": _passed(
        "Completions", "Go on from a text", "CompletionsAnswer", body="CompletionsRequest", event="CompletionsEvent"
    ),
    "POST /v1/moderations": _passed("Moderations", "Judge a text", "Moderations", body="ModerationsRequest"),
    "POST /v1/rerank": _passed("Rerank", "Order texts by a question", "Ranking", body="RerankRequest"),
    "POST /v1/images/generations": _passed("Images", "Make pictures", "Images", body="ImageRequest", event="ImageEvent"),
    "POST /v1/images/edits": _passed(
        "Images", "Change pictures", "Images", body="ImageRequest", form="ImageForm", event="ImageEvent"
    ),
    "POST /v1/images/variations": _passed("Images", "Vary a picture", "Images", form="ImageForm"),
    "POST /v1/audio/speech": _passed("Audio", "Speak a text", "Bytes", body="SpeechRequest", answers="audio/*"),
    "POST /v1/audio/transcriptions": _passed("Audio", "Write down what is said", "Transcript", **_HEARD),
    "POST /v1/audio/translations": _passed("Audio", "Write it down in English", "Transcript", **_HEARD),
    "POST /v1/files": _kept("Files", "Keep a file", "Kept", form="FileForm", query=("provider",)),
    "GET /v1/files": _kept("Files", "List the files of this key", "KeptList", query=(*_LISTED, "purpose")),
    "GET /v1/files/{id}": _kept("Files", "Tell of a file", "Kept"),
    "DELETE /v1/files/{id}": _kept("Files", "Delete a file", "Deleted"),
    "GET /v1/files/{id}/content": _kept("Files", "Read a file", "Bytes", answers="*/*"),
    "POST /v1/batches": _kept("Batches", "Start a batch", "Kept", body="BatchRequest"),
    "GET /v1/batches": _kept("Batches", "List the batches of this key", "KeptList", query=_LISTED),
    "GET /v1/batches/{id}": _kept("Batches", "Tell of a batch", "Kept"),
    "POST /v1/batches/{id}/cancel": _kept("Batches", "End a batch", "Kept"),
    "POST /v1/videos": _passed("Videos", "Make a video", "Kept", **_VIDEO),
    "POST /v1/videos/edits": _passed("Videos", "Change a video", "Kept", **_VIDEO),
    "POST /v1/videos/extensions": _passed("Videos", "Go on from a video", "Kept", **_VIDEO),
    "POST /v1/videos/{id}/remix": _passed("Videos", "Make another from a video", "Kept", body="VideoRequest"),
    "GET /v1/videos": _kept("Videos", "List the videos of this key", "KeptList", query=_LISTED),
    "GET /v1/videos/{id}": _kept("Videos", "Tell of a video", "Kept"),
    "DELETE /v1/videos/{id}": _kept("Videos", "Delete a video", "Deleted"),
    "GET /v1/videos/{id}/content": _kept("Videos", "See a video", "Bytes", answers="*/*"),
}  # fmt: skip
"""What goes to the provider as it is: its answers are told by what matters of them."""


def _native(method: str) -> Operation:
    return Operation(
        "Native", "Call a provider's own path", "Bytes", words="Any", statuses=(*_CALL, 529),
        bytes=method in ("POST", "PUT", "PATCH"), answers="*/*",
    )  # fmt: skip


def _open(summary: str, answer: str, **more: Any) -> Operation:
    return Operation("Open to all", summary, answer, keyed=False, **more)


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
    "POST /v1/responses/input_tokens": _call(
        "Responses", "OpenAI", "Count the tokens of a request", "ResponsesCountRequest", "ResponsesCountAnswer",
        statuses=_COUNT,
    ),
    "GET /v1/responses/{id}": _stored(
        "Tell a stored response once more, also as a stream", "ResponsesAnswer", event="ResponsesEvent",
        query=("stream", "starting_after"),
    ),
    "DELETE /v1/responses/{id}": _stored("Delete a stored response", "Deleted"),
    "POST /v1/responses/{id}/cancel": _stored(
        "Cancel a response that is made in the background", "ResponsesAnswer"
    ),
    "GET /v1/responses/{id}/input_items": _stored(
        "List what a stored response answers", "ResponsesItems", query=("limit", "after", "order")
    ),
    **_gemini("v1"),
    **_gemini("v1beta"),
    "POST /v1/embeddings": _call(
        "Embeddings", "OpenAI", "Embed texts", "EmbeddingsRequest", "EmbeddingsAnswer"
    ),
    **_PASSED,
    **{
        f"{method} /{{provider}}/{{path}}": _native(method)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
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
    "limit": ("The most for one page.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    "before": ("The `last_id` of the page before.", {"type": "string"}),
    "after": ("The last id of the page before.", {"type": "string"}),
    "order": ("Of the items.", {"enum": ["asc", "desc"]}),
    "after_id": ("The `last_id` of the page before; in Anthropic's shape.", {"type": "string"}),
    "before_id": ("The `first_id` of the page after; in Anthropic's shape.", {"type": "string"}),
    "pageSize": ("The most for one page; in Google's shape.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    "pageToken": ("The `nextPageToken` of the page before; in Google's shape.", {"type": "string"}),
    "purpose": ("Of a file.", {"type": "string"}),
    "provider": ("Who is to have it, where several could; the header `x-splice-provider` says the same.", {"type": "string"}),
    "stream": ("As events.", {"enum": ["true", "false"]}),
    "starting_after": ("The `sequence_number` after which the events begin.", {"type": "integer", "minimum": 0}),
}  # fmt: skip
_NAMES: Mapping[str, str] = {
    "models": "The name of a model; it may hold slashes, as they are.",
    "responses": "The id of a response that this key has made and its provider keeps.",
    "files": "The id of a file that this key has made.",
    "batches": "The id of a batch that this key has made.",
    "videos": "The id of a video that this key has made.",
    "usage": "The id of a request, or of the answer to it (`chatcmpl-…`, `msg_…`, `resp_…`).",
    "provider": "The name of a provider that has an account here.",
    "path": "A path of its API, with its slashes: mostly one that calls a model.",
    "docs": "A page that `/llms.txt` names, such as `chat.md`.",
}
"""What stands for ``{id}``, by the word in front of it; and for other names."""

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
                "description": "One URL and one key for every model. Every GET is a HEAD too, except where it is passed on to a provider; every path takes OPTIONS.",
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
    taken = (("application/json", operation.body), ("multipart/form-data", operation.form))
    bodies = {kind: {"schema": _shape(name)} for kind, name in taken if name is not None}
    if bodies:
        said["requestBody"] = {"required": True, "content": bodies}
    elif operation.bytes:
        said["requestBody"] = {"content": {"*/*": {"schema": _shape("Bytes")}}}
    if not operation.keyed:
        said["security"] = []
    if path == "/readyz":
        said["responses"]["503"] = _answered(operation)
    return said


def _answered(operation: Operation) -> dict[str, Any]:
    called = 502 in operation.statuses
    schema = _shape(operation.answer)
    content = {operation.answers: {"schema": schema}}
    if operation.array:
        content["application/json"]["schema"] = {"type": "array", "items": schema}
    if operation.text:
        content["text/plain"] = {"schema": _shape("Text")}
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
    before = path.partition("/{id}")[0].rpartition("/")[2]
    return [
        {
            "name": name, "in": "path", "required": True, "schema": {"type": "string"},
            "description": _NAMES[before if name == "id" else name],
        }
        for name in re.findall(r"{(\w+)}", path)
    ]  # fmt: skip


def _in_query(name: str) -> dict[str, Any]:
    said, schema = _PARAMETERS[name]
    return {"name": name, "in": "query", "description": said, "schema": schema}
