"""What upstreams say, in each dialect: the frames of a stream, and whole answers.

A stream is ``metadata``, then ``text`` …, then ``end``. All tell the same usage: 11 tokens in, of which 3 came from a
cache, and 7 out.
"""

from __future__ import annotations

import json
from typing import Any

from tests.integration.scripted import whole

INPUT, CACHED, OUTPUT = 8, 3, 7
"""Disjoint, as the log tells them."""

EVENTS = {"content_type": "text/event-stream"}
JSON = {"content_type": "application/json"}

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return ``data`` as a chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def data(document: object) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def event(document: dict[str, Any]) -> bytes:
    return f"event: {document['type']}\n".encode() + data(document)


def metadata(dialect: str) -> bytes:
    """Return what comes before any content."""
    match dialect:
        case "openai-chat":
            return chat_chunk({"role": "assistant", "content": ""})
        case "anthropic":
            message: dict[str, Any] = {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                "stop_reason": None, "stop_sequence": None,
                "usage": {"input_tokens": INPUT, "cache_read_input_tokens": CACHED, "output_tokens": 1},
            }  # fmt: skip
            return event({"type": "message_start", "message": message}) + event({"type": "ping"})
        case "openai-responses":
            response = {
                "id": "resp_1",
                "object": "response",
                "status": "in_progress",
                "model": "m",
                "output": [],
            }
            item = {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "in_progress",
                "content": [],
            }
            part = {"type": "output_text", "text": "", "annotations": []}
            return (
                event({"type": "response.created", "response": response})
                + event({"type": "response.in_progress", "response": response})
                + event({"type": "response.output_item.added", "output_index": 0, "item": item})
                + event({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0,
                         "content_index": 0, "part": part})
            )  # fmt: skip
        case _:
            return data(
                {
                    "usageMetadata": {"promptTokenCount": INPUT + CACHED},
                    "modelVersion": "m",
                    "responseId": "g1",
                }
            )


def text(dialect: str, delta: str) -> bytes:
    """Return one piece of text; of an Anthropic stream, a block of its own."""
    match dialect:
        case "openai-chat":
            return chat_chunk({"content": delta})
        case "anthropic":
            block = {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            }
            piece = {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": delta},
            }
            return event(block) + event(piece)
        case "openai-responses":
            return event({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
                          "content_index": 0, "delta": delta})  # fmt: skip
        case _:
            content = {"role": "model", "parts": [{"text": delta}]}
            return data(
                {
                    "candidates": [{"index": 0, "content": content}],
                    "modelVersion": "m",
                    "responseId": "g1",
                }
            )


def more(dialect: str, delta: str) -> bytes:
    """Return a further piece of the text that ``text`` began."""
    if dialect == "anthropic":
        return event(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": delta},
            }
        )
    return text(dialect, delta)


def end(dialect: str, said: str = "Hello") -> bytes:
    """Return the end of a stream that said ``said``, with its usage."""
    match dialect:
        case "openai-chat":
            usage = {
                "choices": [],
                "usage": chat_usage(),
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
            }
            return chat_chunk({}, "stop") + data(usage) + b"data: [DONE]\n\n"
        case "anthropic":
            delta = {"stop_reason": "end_turn", "stop_sequence": None}
            return (
                event({"type": "content_block_stop", "index": 0})
                + event(
                    {"type": "message_delta", "delta": delta, "usage": {"output_tokens": OUTPUT}}
                )
                + event({"type": "message_stop"})
            )
        case "openai-responses":
            return event({"type": "response.completed", "response": document(dialect, said)})
        case _:
            return data(document(dialect, ""))


def stream(dialect: str, *said: str) -> bytes:
    """Return the frames of a whole stream."""
    first, *rest = said or ("Hello",)
    pieces = b"".join(more(dialect, one) for one in rest)
    return metadata(dialect) + text(dialect, first) + pieces + end(dialect, "".join(said))


def streamed(dialect: str, *said: str) -> bytes:
    """Return the HTTP answer that is such a stream."""
    return HEAD + chunk(stream(dialect, *said)) + LAST


def document(dialect: str, said: str = "Hello") -> dict[str, Any]:
    """Return a whole answer."""
    match dialect:
        case "openai-chat":
            message = {"role": "assistant", "content": said, "refusal": None}
            return {
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "usage": chat_usage(),
                "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            }  # fmt: skip
        case "anthropic":
            return {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                "content": [{"type": "text", "text": said}], "stop_reason": "end_turn", "stop_sequence": None,
                "usage": {"input_tokens": INPUT, "cache_read_input_tokens": CACHED, "output_tokens": OUTPUT},
            }  # fmt: skip
        case "openai-responses":
            part = {"type": "output_text", "text": said, "annotations": []}
            item = {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
            return {
                "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
                "output": [item], "error": None, "incomplete_details": None,
                "usage": {
                    "input_tokens": INPUT + CACHED, "input_tokens_details": {"cached_tokens": CACHED},
                    "output_tokens": OUTPUT, "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": INPUT + CACHED + OUTPUT,
                },
            }  # fmt: skip
        case _:
            content = {"role": "model", "parts": [{"text": said}]}
            return {
                "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}],
                "usageMetadata": {
                    "promptTokenCount": INPUT + CACHED, "cachedContentTokenCount": CACHED,
                    "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + CACHED + OUTPUT,
                },
                "modelVersion": "m", "responseId": "g1",
            }  # fmt: skip


def told(dialect: str, said: str = "Hello") -> bytes:
    """Return the HTTP answer that is such a document."""
    return whole(json.dumps(document(dialect, said)).encode(), **JSON)


def failure(dialect: str, kind: str = "overloaded") -> bytes:
    """Return the event by which a stream of ``dialect`` says that it has failed: ``overloaded`` or ``rate_limit``."""
    limited = kind == "rate_limit"
    match dialect:
        case "openai-chat":
            code = "rate_limit_exceeded" if limited else "server_is_overloaded"
            return data({"error": {"message": "inside", "type": "x", "param": None, "code": code}})
        case "anthropic":
            error = {
                "type": "rate_limit_error" if limited else "overloaded_error",
                "message": "inside",
            }
            return event({"type": "error", "error": error})
        case "openai-responses":
            code = "rate_limit_exceeded" if limited else "server_is_overloaded"
            return event({"type": "error", "code": code, "message": "inside", "param": None})
        case _:
            status, number = ("RESOURCE_EXHAUSTED", 429) if limited else ("UNAVAILABLE", 503)
            return data({"error": {"code": number, "message": "inside", "status": status}})


def chat_chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return data(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
    )


def chat_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": INPUT + CACHED, "completion_tokens": OUTPUT, "total_tokens": INPUT + CACHED + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": CACHED},
    }  # fmt: skip
