"""Gemini's words for why an answer ended, and what they mean elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialects.turn import StopReason

CONTINUATION = "CONTINUATION"
"""The answer is not over: its token, sent with the same request, gets the rest."""

STOP_REASONS: Mapping[str, StopReason] = {
    "STOP": StopReason.STOP,
    "MAX_TOKENS": StopReason.LENGTH,
    CONTINUATION: StopReason.LENGTH,
    "SAFETY": StopReason.FILTER,
    "RECITATION": StopReason.FILTER,
    "LANGUAGE": StopReason.FILTER,
    "BLOCKLIST": StopReason.FILTER,
    "PROHIBITED_CONTENT": StopReason.FILTER,
    "SPII": StopReason.FILTER,
    "IMAGE_SAFETY": StopReason.FILTER,
    "IMAGE_PROHIBITED_CONTENT": StopReason.FILTER,
    "IMAGE_RECITATION": StopReason.FILTER,
    "MODEL_ARMOR": StopReason.FILTER,
    "ESCALATION": StopReason.FILTER,
    "MALFORMED_FUNCTION_CALL": StopReason.BROKEN,
    "UNEXPECTED_TOOL_CALL": StopReason.BROKEN,
    "TOO_MANY_TOOL_CALLS": StopReason.BROKEN,
    "MISSING_THOUGHT_SIGNATURE": StopReason.BROKEN,
    "MALFORMED_RESPONSE": StopReason.BROKEN,
    "NO_IMAGE": StopReason.BROKEN,
    "OTHER": StopReason.BROKEN,
    "IMAGE_OTHER": StopReason.BROKEN,
    "FINISH_REASON_UNSPECIFIED": StopReason.BROKEN,
}

FINISH_REASONS: Mapping[StopReason, str] = {
    StopReason.STOP: "STOP",
    StopReason.STOP_SEQUENCE: "STOP",
    StopReason.TOOL_CALLS: "STOP",
    StopReason.COMPACTION: "STOP",
    StopReason.LENGTH: "MAX_TOKENS",
    StopReason.CONTEXT: "MAX_TOKENS",
    StopReason.PAUSE: "MAX_TOKENS",
    StopReason.FILTER: "SAFETY",
    StopReason.BROKEN: "OTHER",
}

# Upstreams that were asked for `$alt=json;enum-encoding=int` write the numbers of the protocol
# buffer instead of the names.
_NUMBERED_REASONS = (
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "MISSING_THOUGHT_SIGNATURE",
)
_NUMBERED_BLOCKS = (
    "BLOCKED_REASON_UNSPECIFIED",
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
)


def finish_word(value: object) -> str:
    """Return the name of a ``finishReason``, or "" where it says none."""
    return _word(value, _NUMBERED_REASONS)


def block_word(value: object) -> str:
    """Return the name of a ``promptFeedback.blockReason``, or "" where it says none."""
    return _word(value, _NUMBERED_BLOCKS)


def is_blocked(chunk: Mapping[str, Any]) -> bool:
    """Tell whether ``chunk`` says that the prompt was refused: no candidate will come."""
    feedback = chunk.get("promptFeedback")
    return isinstance(feedback, dict) and block_word(feedback.get("blockReason")) != ""


def stop_reason(word: str, *, calls: bool) -> StopReason:
    """Return what ``word`` means; a word of tomorrow is a plain stop.

    Gemini says STOP where it wants tools called too, so ``calls`` decides.
    """
    reason = STOP_REASONS.get(word, StopReason.STOP)
    return StopReason.TOOL_CALLS if calls and reason is StopReason.STOP else reason


def _word(value: object, numbered: tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int:
        # A number of tomorrow still says that the answer ended.
        return numbered[value] if 0 <= value < len(numbered) else str(value)
    return ""
