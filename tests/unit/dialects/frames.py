"""Frames as upstreams send them, for tests of what passes through."""

from __future__ import annotations

import json
from typing import Any


def sse(document: object) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


# Chat completions.


def chunk(*choices: dict[str, Any], **fields: Any) -> bytes:
    return sse(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": list(choices), **fields}
    )


def choice(delta: object, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
TEXT = chunk(choice({"content": "Hi"}))
ROLE = chunk(choice({"role": "assistant", "content": ""}))
STOP = chunk(choice({}, "stop"))
DONE = b"data: [DONE]\n\n"


# Messages and Responses, whose events have names.


def event(kind: str, *, named: bool = True, **fields: Any) -> bytes:
    name = f"event: {kind}\n".encode() if named else b""
    return name + sse({"type": kind, **fields})


BEGIN = event(
    "message_start", message={"id": "msg_1", "usage": {"input_tokens": 5, "output_tokens": 1}}
)
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HI = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
SHUT = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
OVER = event("message_stop")
PING = event("ping")
BROKEN = event("error", error={"type": "overloaded_error", "message": "Overloaded"})

RESPONSE = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
CREATED = event("response.created", sequence_number=0, response=RESPONSE)
DELTA = event("response.output_text.delta", sequence_number=7, delta="Hi", item_id="msg_1")
