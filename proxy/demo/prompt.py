"""What a request asks for, whatever dialect it came in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

from proxy.demo.models import Model
from proxy.demo.picture import Attachment

# An image costs the same number of tokens whatever its size: the counts must be easy to predict.
TOKENS_PER_ATTACHMENT = 85
TOKENS_PER_TURN = 4

# Gateways and coding agents wrap their own notes into the user's turn; the user did not say them.
_NOTES = re.compile(r"<(system(?:-reminder)?)>.*?</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a tool is to be called; ``allowed`` names the ones that may be, all if it is empty."""

    mode: Literal["auto", "none", "required"] = "auto"
    allowed: frozenset[str] = frozenset()

    @classmethod
    def of_one(cls, name: str) -> Choice:
        """This tool must be called."""
        return cls("required", frozenset({name}))


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation; ``calls`` and ``results`` are (call id, tool name or result text)."""

    role: Literal["system", "user", "assistant"]
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    results: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """The shape the answer must have: any JSON object, or one that fits ``schema``."""

    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    model: Model
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: Choice = field(default_factory=Choice)
    parallel: bool = True
    thinking: bool | None = None
    """Asked for, forbidden, or (None) left to the model."""
    format: Format | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None

    @property
    def thinks(self) -> bool:
        return self.model.thinks if self.thinking is None else self.thinking

    @property
    def system(self) -> str:
        return "\n\n".join(turn.text for turn in self.turns if turn.role == "system" and turn.text)

    @property
    def said(self) -> str:
        """What the user said last, without the notes that software wrapped around it."""
        for turn in reversed(self.turns):
            if turn.role == "user":
                said = _NOTES.sub("", turn.text).strip()
                if said:
                    return said
        return ""

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Images and files of the turn that the user spoke last."""
        for turn in reversed(self.turns):
            if turn.role == "user" and (turn.text or turn.attachments):
                return turn.attachments
        return ()

    @property
    def results(self) -> tuple[str, ...]:
        """Texts of the tool results that the conversation ends in."""
        found: list[str] = []
        for turn in reversed(self.turns):
            if turn.role == "system":
                continue
            if not turn.results:
                break
            found[:0] = [text for _, text in turn.results]
        return tuple(found)

    @property
    def tokens(self) -> int:
        """Input tokens: words, plus fixed amounts for turns and attachments."""
        return sum(map(_turn_tokens, self.turns)) + sum(map(_tool_tokens, self.tools))


def words(text: str) -> int:
    return len(text.split())


def _turn_tokens(turn: Turn) -> int:
    return (
        TOKENS_PER_TURN
        + words(turn.text)
        + TOKENS_PER_ATTACHMENT * len(turn.attachments)
        + sum(words(name) for _, name in turn.calls)
        + sum(words(text) for _, text in turn.results)
    )


def _tool_tokens(tool: Tool) -> int:
    return 1 + len(orjson.dumps(tool.schema)) // 4


def joined(texts: Sequence[str]) -> str:
    return "\n".join(text for text in texts if text)
