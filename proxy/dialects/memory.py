"""What upstreams want back with a tool call, kept for clients that do not echo it.

A model that thinks before it calls a tool gets its sealed thinking back with the result, or it refuses the conversation or
thinks anew. Most chat clients drop fields that they do not know, so the seals of recent calls are kept here, by the key that
made the call and the call's id. A miss costs quality, never correctness: writers have a rule for calls without seals.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import assert_never

from proxy.dialects.conversation import Call, Conversation, Redacted, Thinking
from proxy.dialects.reply import Sealed

MAX_ENTRIES = 65_536
MAX_BYTES = 64 * 1024 * 1024
LIFETIME = 2 * 3600.0
"""Seconds. Agents answer a call in minutes; a conversation that is taken up next day has lost its provider's cache too."""


class Memory:
    """The seals of recent tool calls; the oldest go when there are too many, too large or too old ones."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], tuple[float, int, tuple[Sealed, ...]]] = (
            OrderedDict()
        )
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def keep(self, key_id: str, call_id: str, seals: tuple[Sealed, ...], now: float) -> None:
        """Keep ``seals`` for the call ``call_id`` of the key ``key_id``."""
        size = len(call_id) + sum(map(_size, seals))
        if size > MAX_BYTES // 64:
            return
        self._forget((key_id, call_id))
        self._entries[key_id, call_id] = (now + LIFETIME, size, seals)
        self._bytes += size
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._forget(next(iter(self._entries)))

    def recall(self, key_id: str, conversation: Conversation, now: float) -> None:
        """Put the seals of the key's calls back into the turns of ``conversation`` that came without any."""
        for turn in conversation.turns:
            if turn.role != "assistant" or any(
                isinstance(part, Thinking | Redacted) for part in turn.parts
            ):
                continue
            call = next((part for part in turn.parts if isinstance(part, Call)), None)
            if call is None or call.signature:
                continue
            seals = self._find((key_id, call.id), now)
            turn.parts[:0] = [seal for seal in seals if not isinstance(seal, Call)]
            for seal in seals:
                if isinstance(seal, Call):
                    call.signature = seal.signature

    def _find(self, key: tuple[str, str], now: float) -> tuple[Sealed, ...]:
        entry = self._entries.get(key)
        if entry is None:
            return ()
        if entry[0] < now:
            self._forget(key)
            return ()
        self._entries.move_to_end(key)
        return entry[2]

    def _forget(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]


def _size(seal: Sealed) -> int:
    match seal:
        case Thinking():
            return len(seal.text) + len(seal.signature)
        case Redacted():
            return len(seal.data)
        case Call():
            return len(seal.signature) + len(seal.id)
        case _:
            assert_never(seal)
