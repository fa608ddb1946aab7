"""Which account a conversation stays with, so that the provider finds its prompt in the cache.

A conversation is known by what its client calls it, else by what its prompt begins with. It is placed by rendezvous hashing,
so a gateway that is started again places it where it was; for an hour after its last call it stays where it was placed, also
when it had to move there and the account that it left is back: the cache is where it was used last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

import orjson

TTL = 3600.0
"""Seconds: the longest that a provider keeps a prompt."""
MAX_PLACED = 16_384
"""Conversations remembered; a forgotten one is placed again, mostly where it was."""
_HEADERS = (
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "x-session-id",
    "x-session-affinity",
)
_FIELDS = ("session_id", "prompt_cache_key")
_PREFIX = 4096
"""Bytes of the system prompt and of the tools that tell a conversation: hashing all of a long one would cost more than it tells."""


class Placeable(Protocol):
    """An account, as far as placing needs to know it."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> int: ...


Place = TypeVar("Place", bound=Placeable)


def session_of(
    key: str, headers: Mapping[str, str], document: Mapping[str, object]
) -> bytes | None:
    """Return what a conversation of ``key`` is known by, or None: nothing in this request could be cached for the next.

    ``headers`` are looked up by lower-case names. Two keys never share a conversation, whatever they call it.
    """
    named = _named(headers, document)
    if named is not None:
        return _digest(key, b"session", named.encode("utf-8", "replace"))
    beginning = _beginning(document)
    return None if beginning is None else _digest(key, b"prompt", *beginning)


class Affinity:
    """Where conversations were placed."""

    def __init__(self) -> None:
        self._placed: dict[tuple[bytes, str, str], tuple[str, float]] = {}

    def place(
        self, session: bytes, provider: str, model: str, able: Sequence[Place], now: float
    ) -> Place:
        """Return the account of ``able`` (never empty) that takes the conversation's call to ``model``."""
        known = (session, provider, model)
        # What is used goes to the end, so the first is the one that was not for longest.
        placed = self._placed.pop(known, None)
        chosen = None
        if placed is not None and now < placed[1]:
            chosen = next((one for one in able if one.name == placed[0]), None)
        if chosen is None:
            chosen = rendezvous(session, able)
        self._placed[known] = (chosen.name, now + TTL)
        if len(self._placed) > MAX_PLACED:
            del self._placed[next(iter(self._placed))]
        return chosen

    def __len__(self) -> int:
        return len(self._placed)


def rendezvous(session: bytes, able: Sequence[Place]) -> Place:
    """Return the one of ``able`` (never empty) that draws the best lot for ``session``; a weight is so many chances.

    Whoever joins or leaves moves only those conversations that are its own.
    """
    if len(able) == 1:
        return able[0]
    return max(able, key=lambda one: _lot(session, one))


def _lot(session: bytes, one: Placeable) -> float:
    digest = blake2b(one.name.encode(), digest_size=8, key=session).digest()
    # 52 bits, so that no number rounds to the 0 or the 1 that has no logarithm to divide by.
    drawn = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return one.weight / -math.log(drawn)


def _named(headers: Mapping[str, str], document: Mapping[str, object]) -> str | None:
    for header in _HEADERS:
        value = headers.get(header)
        if value:
            return value
    metadata = document.get("metadata")
    for field in (
        *map(document.get, _FIELDS),
        metadata.get("user_id") if isinstance(metadata, dict) else None,
    ):
        if isinstance(field, str) and field:
            return field
    return None


def _beginning(document: Mapping[str, object]) -> tuple[bytes, bytes] | None:
    """Return what the prompt begins with, system text and tools, or None if it has neither."""
    system = b"".join(orjson.dumps(part) for part in _system(document))[:_PREFIX]
    tools = bytearray()
    listed = document.get("tools")
    for tool in listed if isinstance(listed, list) else ():
        tools += orjson.dumps(tool)
        if len(tools) >= _PREFIX:
            break
    return (system, bytes(tools[:_PREFIX])) if system or tools else None


def _system(document: Mapping[str, object]) -> list[object]:
    """Return the system prompt of any dialect, as it stands there."""
    for field in ("system", "instructions", "systemInstruction", "system_instruction"):
        if document.get(field):
            return [document[field]]
    found: list[object] = []
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer"):
            break
        found.append(message.get("content"))
    return found


def _digest(key: str, *parts: bytes) -> bytes:
    digest = blake2b(digest_size=16)
    for part in (key.encode("utf-8", "replace"), *parts):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
