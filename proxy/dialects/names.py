"""Tool ids and tool names that fit an upstream, and the way back.

Every mapping is a function of the request alone, the same for a call and its result: histories are sent again and again, and
caches as well as signatures are bound to their bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from proxy.dialects.conversation import Call, Conversation, Result

Target = Literal["openai-chat", "openai-responses", "anthropic", "gemini"]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NOT_ID = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_CHAT_ID_MAX = 40  # refused above in 2025; later sightings of 51 and 64 are not the rule everywhere
_RESPONSES_ID_MAX = 64
_NAME_MAX: dict[Target, int] = {
    "openai-chat": 64,
    "openai-responses": 64,
    "anthropic": 128,
    "gemini": 64,
}


def call_id_for(target: Target, call_id: str, *, nine: bool = False) -> str:
    """Return ``call_id`` in a form that ``target`` accepts.

    ``nine`` is Mistral's rule of exactly nine alphanumerics.
    """
    if nine:
        return _nine(call_id)
    if target == "anthropic":
        return _NOT_ID.sub("_", call_id) or "_"
    limit = {"openai-chat": _CHAT_ID_MAX, "openai-responses": _RESPONSES_ID_MAX}.get(target)
    if limit is not None and len(call_id) > limit:
        return "call_" + _sha256(call_id)[:32]
    return call_id


def call_ids_for(
    target: Target, conversation: Conversation, *, nine: bool = False
) -> dict[str, str]:
    """Return the id to send for every call id of the conversation; colliding ones are numbered."""
    sent: dict[str, str] = {}
    taken: set[str] = set()
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, Call):
                original = part.id
            elif isinstance(part, Result):
                original = part.call_id
            else:
                continue
            if original in sent:
                continue
            wanted = call_id_for(target, original, nine=nine)
            sent[original] = _free(wanted, taken, lambda base, n: f"{base}_{n}")
    return sent


@dataclass(slots=True)
class Names:
    """The tool names of one request: ``sent`` maps the client's to the upstream's, ``back`` the other way.

    ``back`` holds changed names only; a name that is in neither passes as it is, since models invent some.
    """

    target: Target
    sent: dict[str, str] = field(default_factory=dict)
    back: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Target, names: Iterable[str]) -> Names:
        """Map ``names`` in their order; the ones that are valid already keep their names before any other gets one."""
        made = cls(target)
        ordered = list(dict.fromkeys(names))
        taken = {name for name in ordered if name_for(target, name) == name}
        for name in ordered:
            if name in taken and name not in made.back:
                made.sent[name] = name
                continue
            wanted = _free(name_for(target, name), taken, made._numbered)
            made.sent[name] = wanted
            made.back[wanted] = name
        return made

    def to_upstream(self, name: str) -> str:
        """Return the name to send; one that the request did not declare is made to fit on its own."""
        return self.sent.get(name) or name_for(self.target, name)

    def to_client(self, name: str) -> str:
        """Return the client's own name for one that the upstream used."""
        return self.back.get(name, name)

    def _numbered(self, base: str, n: int) -> str:
        suffix = f"_{n}"
        return base[: _NAME_MAX[self.target] - len(suffix)] + suffix


def name_for(target: Target, name: str) -> str:
    """Return ``name`` with foreign characters as ``_``, cut with a hash where it is too long for ``target``."""
    limit = _NAME_MAX[target]
    clean = _NOT_NAME.sub("_", name) or "_"
    if len(clean) <= limit:
        return clean
    return f"{clean[: limit - 9]}_{_sha256(name)[:8]}"


def hashed_id(*identity: str) -> str:
    """Return a call id for a call that has none: ``call_`` and 24 hex digits that depend on ``identity`` alone."""
    return (
        "call_" + hashlib.sha1("".join(identity).encode(), usedforsecurity=False).hexdigest()[:24]
    )


def flat_name(namespace: str | None, name: str) -> str:
    """Return the one name of a tool that may stand in a namespace."""
    return f"{namespace}__{name}" if namespace else name


def _free(wanted: str, taken: set[str], numbered: Callable[[str, int], str]) -> str:
    """Return ``wanted`` or, where it is taken, its first free numbered form; it is taken afterwards."""
    free, n = wanted, 2
    while free in taken:
        free = numbered(wanted, n)
        n += 1
    taken.add(free)
    return free


def _nine(call_id: str) -> str:
    if len(call_id) == 9 and call_id.isascii() and call_id.isalnum():
        return call_id
    value = int.from_bytes(hashlib.sha256(call_id.encode()).digest(), "big")
    digits = ""
    while value:
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits[:9]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
