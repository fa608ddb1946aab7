"""A chat request for an upstream that speaks chat: what has to change for the provider that serves it."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.dialects.names import call_id_for
from proxy.dialects.native import with_first_member, with_model, with_renamed_key
from proxy.dialects.reply import Upstream
from proxy.providers import Flags

_USAGE_MEMBER = b'"stream_options":{"include_usage":true}'
_EXTENSIONS = (
    "cache_control",
    "thinking_blocks",
    "reasoning_details",
    "reasoning_content",
    "extra_content",
)
"""Fields of other conventions on messages and their parts, which OpenAI refuses."""
_EXTENSION_KEYS = tuple(b'"%b"' % name.encode() for name in _EXTENSIONS)


def rewritten(body: bytes, document: dict[str, Any], upstream: Upstream, *, stream: bool) -> bytes:
    """Return the bytes to send: the client's, asking for the upstream's model and in the provider's words.

    ``document`` is what ``body`` was parsed from; it stays as it is, since another account may be asked from it.
    """
    flags = upstream.flags
    mendable = _may_need_mending(body, flags)
    document = orjson.loads(body) if mendable else dict(document)
    changed = mendable and _mend_messages(document, flags)
    if flags.official and document.get("reasoning_effort") == "max":
        # Chat completions refuse it on every model; Responses takes it.
        document["reasoning_effort"] = "xhigh"
        changed = True
    if changed:
        document["model"] = upstream.model
        body = orjson.dumps(document)
    else:
        body = with_model(body, document, upstream.model)
    body = _with_limit_field(body, document, flags)
    if stream and flags.stream_options:
        body = with_usage_asked(body, document)
    return body


def with_usage_asked(body: bytes, document: dict[str, Any]) -> bytes:
    """Return ``body`` asking for the usage chunk, which is swallowed where the client did not ask."""
    options = document.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        return body
    if "stream_options" not in document:
        document["stream_options"] = {"include_usage": True}
        return with_first_member(body, _USAGE_MEMBER)
    document["stream_options"] = {
        **(options if isinstance(options, dict) else {}),
        "include_usage": True,
    }
    return orjson.dumps(document)


def _with_limit_field(body: bytes, document: dict[str, Any], flags: Flags) -> bytes:
    """Return ``body`` with the output limit under the only name that the provider takes."""
    wanted = flags.max_tokens_field
    if wanted is None:
        return body
    other = "max_tokens" if wanted == "max_completion_tokens" else "max_completion_tokens"
    if other not in document:
        return body
    if wanted in document:
        del document[other]
        return orjson.dumps(document)
    return with_renamed_key(body, document, other, wanted)


def _may_need_mending(body: bytes, flags: Flags) -> bool:
    """Tell from the bytes whether a message may hold what the provider would refuse: most bodies hold nothing of the kind."""
    if not flags.developer_role and b"developer" in body:
        return True
    if flags.official:
        # A loop, not any(): this runs on every request, and a generator costs more than the search.
        for key in _EXTENSION_KEYS:
            if key in body:
                return True
    return b'"tool_call' in body and (flags.reasoning_field or flags.tool_id_nine or flags.official)


def _mend_messages(document: dict[str, Any], flags: Flags) -> bool:
    """Change what the provider would refuse in the messages; tell whether anything was changed."""
    messages = document.get("messages")
    if not isinstance(messages, list):
        return False
    objects = [message for message in messages if isinstance(message, dict)]
    changed = False
    if not flags.developer_role:
        for message in objects:
            if message.get("role") == "developer":
                message["role"] = "system"
                changed = True
    if flags.official:
        changed |= _strip_extensions(objects)
    if flags.reasoning_field:
        changed |= _add_reasoning(objects)
    if flags.tool_id_nine or flags.official:
        changed |= _fit_call_ids(objects, nine=flags.tool_id_nine)
    return changed


def _strip_extensions(messages: list[dict[str, Any]]) -> bool:
    changed = False
    for message in messages:
        content = message.get("content")
        calls = message.get("tool_calls")
        for holder in (
            message,
            *(content if isinstance(content, list) else ()),
            *(calls if isinstance(calls, list) else ()),
        ):
            if isinstance(holder, dict):
                for name in _EXTENSIONS:
                    if name in holder:
                        del holder[name]
                        changed = True
    return changed


def _add_reasoning(messages: list[dict[str, Any]]) -> bool:
    """Give each tool-calling turn after the last user message the field that DeepSeek-like servers demand of it."""
    changed = False
    for message in reversed(messages):
        if message.get("role") == "user":
            break
        if (
            message.get("role") == "assistant"
            and message.get("tool_calls")
            and message.get("reasoning_content") is None
        ):
            message["reasoning_content"] = ""
            changed = True
    return changed


def _fit_call_ids(messages: list[dict[str, Any]], *, nine: bool) -> bool:
    changed = False
    for message in messages:
        calls = message.get("tool_calls")
        holders = [
            (message, "tool_call_id"),
            *((call, "id") for call in (calls if isinstance(calls, list) else ())),
        ]
        for holder, key in holders:
            given = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(given, str) and given:
                fitting = call_id_for("openai-chat", given, nine=nine)
                changed |= fitting != given
                holder[key] = fitting
    return changed
