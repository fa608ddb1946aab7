"""One accepted request: what its dialect keeps to be able to answer it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from proxy.demo.plan import Frame, Plan
from proxy.demo.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells this answer from others: 24 hex digits and the time in Unix seconds."""

    id: str
    created: int


class Accepted(Protocol):
    """A request that its dialect has read, with the two ways to answer it."""

    @property
    def prompt(self) -> Prompt: ...

    @property
    def stream(self) -> bool: ...

    @property
    def content_type(self) -> str:
        """Of the streamed answer."""
        ...

    def document(self, plan: Plan) -> bytes:
        """The whole answer as JSON."""
        ...

    def frames(self, plan: Plan) -> Iterator[Frame]:
        """The answer as a stream, to be sent up to where the plan has a cut; it ends itself where the provider breaks."""
        ...


EVENT_STREAM = "text/event-stream; charset=utf-8"
