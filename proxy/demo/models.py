"""The models that the demo provider serves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Dialect(StrEnum):
    CHAT = "openai-chat"
    RESPONSES = "openai-responses"
    MESSAGES = "anthropic"
    GEMINI = "gemini"


@dataclass(frozen=True, slots=True)
class Model:
    """One model; ``thinks`` says that it reasons unless it is told not to, instead of on request."""

    id: str
    dialect: Dialect
    kind: Literal["chat", "embedding"] = "chat"
    thinks: bool = False


MODELS: tuple[Model, ...] = (
    Model("demo-chat", Dialect.CHAT),
    Model("demo-chat-thinking", Dialect.CHAT, thinks=True),
    Model("demo-gpt", Dialect.RESPONSES),
    Model("demo-gpt-thinking", Dialect.RESPONSES, thinks=True),
    Model("demo-claude", Dialect.MESSAGES),
    Model("demo-claude-thinking", Dialect.MESSAGES, thinks=True),
    Model("demo-gemini", Dialect.GEMINI),
    Model("demo-gemini-thinking", Dialect.GEMINI, thinks=True),
    Model("demo-embedding", Dialect.CHAT, kind="embedding"),
    Model("demo-gemini-embedding", Dialect.GEMINI, kind="embedding"),
)


def find(name: str, dialect: Dialect, kind: Literal["chat", "embedding"] = "chat") -> Model | None:
    """The model of that name, if this dialect serves it."""
    for model in MODELS:
        if (model.id, model.dialect, model.kind) == (name, dialect, kind):
            return model
    return None
