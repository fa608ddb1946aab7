"""The envelope in which one provider's opaque reasoning travels through another dialect's client.

Providers seal their reasoning: Anthropic signs it, OpenAI encrypts it, Gemini puts a signature on calls; each wants its own
back and refuses anybody else's. Dialects have a field for such a seal, so a foreign one travels there with a prefix that
names its maker: ``gw1:oai:…``, ``gw1:gem:…``, ``gw1:ant:…``; ``gw1:none`` marks thinking that has no seal at all. A value
without prefix is Anthropic's own, since only its dialect shows signatures bare.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import orjson

from proxy.dialects.conversation import Redacted, Thinking

Maker = Literal["ant", "oai", "gem", "none"]
PREFIX = "gw1:"
NONE = "gw1:none"


def wrap(maker: Literal["oai", "gem", "ant"], value: str) -> str:
    """Return ``value`` marked as made by ``maker``."""
    return f"{PREFIX}{maker}:{value}"


def open_for(maker: Literal["ant", "oai", "gem"], opaque: str) -> str | None:
    """Return the seal inside ``opaque`` if ``maker`` made it, else None: it is somebody else's, or no seal."""
    if not opaque.startswith(PREFIX):
        return opaque if maker == "ant" and opaque else None
    found, _, value = opaque[len(PREFIX) :].partition(":")
    return value if found == maker and value else None


def wrap_blocks(blocks: list[Thinking | Redacted]) -> str:
    """Return Anthropic's thinking blocks as one opaque string, for a dialect that has one field for them all."""
    plain = [
        {"type": "thinking", "thinking": block.text, "signature": block.signature}
        if isinstance(block, Thinking)
        else {"type": "redacted_thinking", "data": block.data}
        for block in blocks
    ]
    return wrap("ant", base64.urlsafe_b64encode(orjson.dumps(plain)).decode())


def open_blocks(opaque: str) -> list[Thinking | Redacted]:
    """Return the thinking blocks inside ``opaque``; none if it is not ``wrap_blocks``' work or was tampered with."""
    value = open_for("ant", opaque) if opaque.startswith(PREFIX) else None
    if value is None:
        return []
    try:
        plain = orjson.loads(base64.urlsafe_b64decode(value))
    except (binascii.Error, ValueError):
        return []
    blocks: list[Thinking | Redacted] = []
    for block in plain if isinstance(plain, list) else ():
        match block:
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)}:
                blocks.append(Thinking(text, signature))
            case {"type": "redacted_thinking", "data": str(data)}:
                blocks.append(Redacted(data))
            case _:
                return []
    return blocks
