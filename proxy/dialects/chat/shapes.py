"""The small objects of a chat answer: usage, errors, ids, seals and pictures."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects import envelope
from proxy.dialects.reply import Reply
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError
from proxy.money import usd
from proxy.usage import Usage

Object = dict[str, Any]

_ID = "chatcmpl-"
_FOREIGN_IDS = (_ID, "msg_", "resp_")
_OPENAI_REASONING = "openai-responses-v1"
_REASONS: dict[StopReason, str] = {
    StopReason.STOP: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.LENGTH: "length",
    StopReason.CONTEXT: "length",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.FILTER: "content_filter",
    StopReason.PAUSE: "length",
    StopReason.COMPACTION: "stop",
    StopReason.BROKEN: "stop",
}


def write_usage(usage: Usage) -> Object:
    """Return ``usage`` in OpenAI's terms: prompt tokens include cached ones. Audio is told where there was any."""
    prompt = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_writes}
    completion = {"reasoning_tokens": usage.reasoning}
    if usage.audio_input:
        prompt["audio_tokens"] = usage.audio_input
    if usage.audio_output:
        completion["audio_tokens"] = usage.audio_output
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }


def cost_members(price_micro: int) -> bytes:
    """Return the members of a usage that tell what the key pays: by the name that OpenRouter has made common, and exactly."""
    return b'"cost":%b,"cost_micro":%d' % (usd(price_micro).encode(), price_micro)


def write_error(error: GatewayError, request_id: str) -> Object:
    """Return the body of an HTTP error. The request id is in its headers, OpenAI's shape has no place for it."""
    del request_id
    return {
        "error": {
            "message": error.message,
            "type": error.row.openai_type,
            "param": error.param,
            "code": error.code,
        }
    }


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream with ``error``; nothing follows it."""
    return b"data: " + orjson.dumps(write_error(error, request_id)) + b"\n\n"


def client_id(answer_id: str, reply: Reply) -> str:
    """Return the id that the client is told: the upstream's with the prefix of this dialect, or one of ours."""
    for prefix in _FOREIGN_IDS:
        if answer_id.startswith(prefix):
            answer_id = answer_id[len(prefix) :]
            break
    return _ID + (answer_id or reply.mint())


def finish_reason(reason: StopReason, reply: Reply) -> str:
    """Return this dialect's word for why a turn ended."""
    told = _REASONS[reason]
    return "function_call" if told == "tool_calls" and reply.legacy_functions else told


def extra_content(signature: str) -> bytes:
    """Return the member of a call that holds Gemini's seal, a comma in front; nothing if ``signature`` is none of its."""
    seal = envelope.open_for("gem", signature)
    if seal is None:
        return b""
    return b"," + orjson.dumps({"extra_content": {"google": {"thought_signature": seal}}})[1:-1]


def encrypted_detail(data: str) -> Object:
    """Return the entry of ``reasoning_details`` for reasoning that OpenAI has encrypted."""
    return {"type": "reasoning.encrypted", "data": data, "format": _OPENAI_REASONING}


def picture(mime: str, data: str) -> Object:
    """Return the entry of ``images`` for a picture in base64."""
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}}
