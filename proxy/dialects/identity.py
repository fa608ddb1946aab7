"""Who asks, in the words of OpenAI's dialects: ``user`` or ``safety_identifier``, and ``prompt_cache_key``."""

from __future__ import annotations

import hashlib

import orjson

from proxy.dialects.conversation import Conversation


def identity_fields(conversation: Conversation) -> dict[str, str]:
    """Return the fields to send, and note them as carried.

    A value that was given in OpenAI's own terms passes as it is. A messages client's user id may be longer than OpenAI takes
    and may name a person, so its hash goes; the session inside it, if it is JSON as Claude Code's is, keeps the prompt cache.
    """
    fields: dict[str, str] = {}
    user = conversation.user
    if user is not None and conversation.user_is_opaque:
        hashed = hashlib.sha256(user.encode()).hexdigest()
        fields["safety_identifier"] = hashed
        fields["prompt_cache_key"] = _session(user) or hashed
        conversation.carry("user")
    elif user is not None:
        name = (
            "safety_identifier" if conversation.given.get("user") == "safety_identifier" else "user"
        )
        fields[name] = user
        conversation.carry("user")
    if conversation.cache_key is not None:
        fields["prompt_cache_key"] = conversation.cache_key
        conversation.carry("cache_key")
    return fields


def _session(user: str) -> str | None:
    try:
        match orjson.loads(user):
            case {"session_id": str(session)} if session:
                return session
            case _:
                return None
    except orjson.JSONDecodeError:
        return None
