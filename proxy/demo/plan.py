"""What will be answered, step by step, before a dialect has put it into bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Thought:
    """One token of reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """One token of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A whole tool call; ``arguments`` is JSON."""

    ordinal: int
    name: str
    arguments: str

    def fragments(self) -> Iterator[str]:
        """The arguments in the pieces that a stream brings them in."""
        for at in range(0, len(self.arguments), 12):
            yield self.arguments[at : at + 12]


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection drops here: whoever sends a stream sends nothing more."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The provider fails here, and says so inside the stream."""


Step = Thought | Text | Call | Wait | Cut | Broken
Finish = Literal["stop", "stop_sequence", "length", "tool_calls"]

# What a dialect renders a plan to: bytes of the stream, and what happens between them.
Frame = bytes | Wait | Cut


@dataclass(frozen=True, slots=True)
class Plan:
    """Token counts are of the whole answer; ``reasoning`` is part of ``output``."""

    steps: tuple[Step, ...]
    finish: Finish
    stop_sequence: str | None
    input: int
    output: int
    reasoning: int

    @property
    def thinking(self) -> str:
        return "".join(step.text for step in self.steps if isinstance(step, Thought))

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps if isinstance(step, Text))

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(step for step in self.steps if isinstance(step, Call))

    @property
    def last(self) -> Step | None:
        return self.steps[-1] if self.steps else None


@dataclass(frozen=True, slots=True)
class Page:
    """Not an answer of the API at all: what a captive portal or a proxy in between would say."""

    html: str = "<!doctype html><title>Welcome</title><p>Please sign in to this network.</p>\n"
