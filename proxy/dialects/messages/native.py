"""A Messages request for an Anthropic upstream: only thinking that others sealed has to go, since the API refuses it."""

from __future__ import annotations

import re
from typing import Any

import orjson

from proxy.dialects.envelope import PREFIX
from proxy.dialects.native import with_model

_SEALED_ELSEWHERE = b'"' + PREFIX.encode()
_EMPTY_SIGNATURE = re.compile(rb'"signature"\s*:\s*""')
_THINKING = {"thinking": "signature", "redacted_thinking": "data"}
"""Where each kind of thinking has its seal."""


def foreign_thinking(body: bytes) -> bool:
    """Tell whether ``body`` may hold thinking that another provider sealed, or nobody.

    It looks at bytes, before any parsing: a text that quotes such a seal is taken for one, and ``strip_foreign_thinking`` then
    finds nothing to remove.
    """
    return _SEALED_ELSEWHERE in body or _EMPTY_SIGNATURE.search(body) is not None


def rewritten(body: bytes, document: dict[str, Any], model: str) -> bytes:
    """Return the bytes to send: the client's, asking for ``model``, without thinking that another provider sealed.

    ``document`` is what ``body`` was parsed from; it stays as it is, since another account may be asked from it.
    """
    if foreign_thinking(body):
        stripped = strip_foreign_thinking(document)
        if stripped is not document:
            document, body = stripped, orjson.dumps(stripped)
    return with_model(body, dict(document), model)


def strip_foreign_thinking(document: dict[str, Any]) -> dict[str, Any]:
    """Return ``document`` without such blocks, or the very same object where there is none; it is never changed.

    An assistant message that held nothing else goes with them. The API joins the user messages around it by itself, but takes
    a system message only last or before the assistant, so one that now stands before the user moves behind.
    """
    messages = document.get("messages")
    if not isinstance(messages, list):
        return document
    kept: list[Any] = []
    changed = False
    gaps: list[int] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list) or message.get("role") != "assistant":
            kept.append(message)
            continue
        own = [block for block in content if not _is_foreign(block)]
        changed = changed or len(own) < len(content)
        if own or not content:
            kept.append(message if len(own) == len(content) else {**message, "content": own})
        else:
            gaps.append(len(kept))
    if not changed:
        return document
    for gap in gaps:
        _move_system_behind_user(kept, gap)
    return {**document, "messages": kept}


def _is_foreign(block: object) -> bool:
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    place = _THINKING.get(kind) if isinstance(kind, str) else None
    if place is None:
        return False
    seal = block.get(place)
    return not isinstance(seal, str) or not seal or seal.startswith(PREFIX)


def _move_system_behind_user(messages: list[Any], gap: int) -> None:
    """Swap the messages around ``gap``, the place of one that went, if they are a system and a user message."""
    if (
        0 < gap < len(messages)
        and _role(messages[gap - 1]) == "system"
        and _role(messages[gap]) == "user"
    ):
        messages[gap - 1], messages[gap] = messages[gap], messages[gap - 1]


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None
