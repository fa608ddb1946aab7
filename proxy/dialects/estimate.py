"""About how many tokens a prompt is, for limits and for upstreams that tell no usage."""

from __future__ import annotations

import orjson

from proxy.dialects.conversation import (
    Call,
    Conversation,
    Image,
    Part,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
)
from proxy.usage import estimate_tokens

MESSAGE = 4
"""Tokens that a message costs beside its content."""
IMAGE_LOW = 85
IMAGE = 1000


def prompt_tokens(conversation: Conversation) -> int:
    """Return about how many tokens the prompt of ``conversation`` is: texts, tools, images, and four for each message."""
    total = MESSAGE * (len(conversation.turns) + bool(conversation.system))
    total += sum(estimate_tokens(text.text) for text in conversation.system)
    for tool in conversation.tools:
        schema = orjson.dumps(tool.parameters).decode() if tool.parameters is not None else ""
        total += estimate_tokens(tool.name + (tool.description or "") + schema)
    return total + sum(_part(part) for turn in conversation.turns for part in turn.parts)


def _part(part: Part) -> int:
    match part:
        case Text() | Refusal() | Thinking():
            return estimate_tokens(part.text)
        case Call():
            return estimate_tokens(part.name + part.arguments)
        case Result():
            return sum(_part(content) for content in part.content)
        case Image():
            return IMAGE_LOW if part.detail == "low" else IMAGE
        case Redacted():
            return 0
        case _:
            # Files and audio: what a provider makes of them is not known before it says so.
            return IMAGE
