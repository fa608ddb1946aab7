"""The neutral answer: the verbs of a model's turn, and the shapes around them.

A decoder reads an upstream's answer, streamed or whole, and calls these verbs; an encoder renders each of them in the
client's dialect at once. Nothing is allocated for a token but the frame that carries it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.errors import GatewayError
    from proxy.usage import Usage


class StopReason(StrEnum):
    """Why a turn ended, for all dialects; each dialect has its table to and from its own words."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    CONTEXT = "context"
    TOOL_CALLS = "tool_calls"
    FILTER = "filter"
    PAUSE = "pause"
    COMPACTION = "compaction"
    BROKEN = "broken"


class Turn(Protocol):
    """The verbs every decoder calls and every encoder answers to.

    ``begin`` comes first, ``end`` or ``fail`` last and once. ``usage`` may come at any time and the last call wins. Tool
    calls have a number each, by which they are in order even where they start out of it; fragments of their arguments may
    interleave with anything.
    ``call_done`` says that a call's arguments are whole; it may be left out. Opaque strings are in the envelope of
    ``proxy.dialects.envelope``. ``choice`` says that what follows belongs to the n-th alternative answer; without it all is
    the first's.
    """

    def begin(self, model: str, answer_id: str) -> None: ...
    def choice(self, index: int) -> None: ...
    def text(self, delta: str) -> None: ...
    def thinking(self, delta: str) -> None: ...
    def signature(self, opaque: str) -> None: ...
    def redacted(self, opaque: str) -> None: ...
    def refusal(self, delta: str) -> None: ...
    def image(self, mime: str, data: str) -> None: ...
    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None: ...
    def arguments(self, index: int, delta: str) -> None: ...
    def call_done(self, index: int) -> None: ...
    def usage(self, usage: Usage) -> None: ...
    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None: ...
    def fail(self, error: GatewayError) -> None: ...


class Decoder(Protocol):
    """Reads one upstream answer and plays it on a ``Turn``.

    ``event`` takes one server-sent event's data; ``answer`` takes a whole document instead; ``finish`` says that the body
    ended and ends the turn if the upstream forgot to, or fails it as cut short. ``ended`` is set when ``end`` or ``fail``
    has been called.
    """

    ended: bool

    def event(self, name: bytes | None, data: bytes) -> None: ...
    def answer(self, document: object) -> None: ...
    def finish(self) -> None: ...
