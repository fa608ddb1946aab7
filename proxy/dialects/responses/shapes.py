"""The small objects of a Responses answer: parts, seals, usage and what went wrong."""

from __future__ import annotations

from typing import Any

from proxy.dialects import envelope
from proxy.dialects.conversation import Redacted, Thinking
from proxy.errors import GatewayError, Kind
from proxy.usage import Usage


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return ``usage`` in this dialect, where prompt tokens include cached ones."""
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_writes,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def told_error(error: GatewayError) -> dict[str, str]:
    """Return the error inside a failed response, in the words that Codex acts on."""
    message = error.message
    if error.row.openai_type == "rate_limit_error":
        if error.retry_after is not None:
            message += f" Please try again in {error.retry_after}s."
        return {"code": "rate_limit_exceeded", "message": message}
    if error.kind is Kind.CONTEXT:
        return {"code": "context_length_exceeded", "message": message}
    if error.kind is Kind.NO_CREDIT:
        return {"code": "insufficient_quota", "message": message}
    return {"code": "server_error", "message": message}


def sealed(part: Thinking | Redacted) -> dict[str, str]:
    """Return the field that holds the seal of a reasoning item, if there is one.

    Anthropic's is bound to the text that it seals, so both go into it.
    """
    opaque = part.signature if isinstance(part, Thinking) else part.data
    if opaque in ("", envelope.NONE):
        return {}
    if not opaque.startswith(envelope.PREFIX):
        opaque = envelope.wrap_blocks([part])
    return {"encrypted_content": opaque}


def part_of(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": []}


def summary_of(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def kept(response: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what OpenAI keeps of ``response``, by kind and id: it, its items and containers, to which later requests may refer."""
    name = response.get("id")
    if response.get("store") is False or not isinstance(name, str):
        return []
    output = response.get("output")
    items = output if isinstance(output, list) else []
    found = [("response", name)]
    for item in items:
        if isinstance(item, dict):
            environment = item.get("environment")
            held = environment if isinstance(environment, dict) else item
            told = ("item", item.get("id")), ("container", held.get("container_id"))
            found += [(kind, one) for kind, one in told if isinstance(one, str)]
    return list(dict.fromkeys(found))
