"""A whole answer, gathered from the verbs, for clients that do not stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.dialects.conversation import Call, Image, Part, Redacted, Refusal, Text, Thinking
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError
from proxy.usage import Usage

Said = Text | Thinking | Refusal
"""What comes in deltas."""


@dataclass(slots=True)
class Choice:
    """One alternative answer: its parts in the order in which they came."""

    parts: list[Part] = field(default_factory=list)
    reason: StopReason = StopReason.STOP
    stop_sequence: str | None = None
    detail: str | None = None

    @property
    def text(self) -> str:
        """All text, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def calls(self) -> list[Call]:
        """The tool calls in their order."""
        return [part for part in self.parts if isinstance(part, Call)]


class Collected:
    """A ``Turn`` that keeps what is played on it. After ``end`` or ``fail`` it is complete."""

    def __init__(self) -> None:
        self.model = ""
        self.answer_id = ""
        self.choices = [Choice()]
        self.reported: Usage | None = None
        self.error: GatewayError | None = None
        self.ended = False
        self._choice = self.choices[0]
        self._open: Said | None = None
        self._deltas: list[str] = []
        self._calls: dict[tuple[int, int], tuple[Call, list[str]]] = {}
        self._at = 0

    # Verbs.

    def begin(self, model: str, answer_id: str) -> None:
        self.model, self.answer_id = model, answer_id

    def choice(self, index: int) -> None:
        self._close()
        while len(self.choices) <= index:
            self.choices.append(Choice())
        self._at, self._choice = index, self.choices[index]

    def text(self, delta: str) -> None:
        self._append(Text, delta)

    def thinking(self, delta: str) -> None:
        self._append(Thinking, delta)

    def refusal(self, delta: str) -> None:
        self._append(Refusal, delta)

    def signature(self, opaque: str) -> None:
        self._close()
        last = self._choice.parts[-1] if self._choice.parts else None
        if isinstance(last, Thinking) and not last.signature:
            last.signature = opaque
        else:
            self._choice.parts.append(Thinking("", opaque))

    def redacted(self, opaque: str) -> None:
        self._close()
        self._choice.parts.append(Redacted(opaque))

    def image(self, mime: str, data: str) -> None:
        self._close()
        self._choice.parts.append(Image(data=data, mime=mime))

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        self._close()
        call = Call(call_id, name, "", signature)
        self._choice.parts.append(call)
        self._calls[self._at, index] = (call, [])

    def arguments(self, index: int, delta: str) -> None:
        self._calls[self._at, index][1].append(delta)

    def call_done(self, index: int) -> None:
        """Nothing to do: arguments are joined at the end."""

    def usage(self, usage: Usage) -> None:
        self.reported = usage

    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None:
        self._close()
        self._choice.reason, self._choice.stop_sequence, self._choice.detail = (
            reason,
            stop_sequence,
            detail,
        )
        self._join_arguments()
        self.ended = True

    def fail(self, error: GatewayError) -> None:
        """End early; what was said until then is kept, since it is paid for."""
        self._close()
        self._join_arguments()
        self.error = error
        self.ended = True

    # Gathering deltas.

    def _append(self, kind: type[Said], delta: str) -> None:
        if not delta:
            return
        if type(self._open) is not kind:
            self._close()
            self._open = self._last_or_new(kind)
        self._deltas.append(delta)

    def _last_or_new(self, kind: type[Said]) -> Said:
        """Return the last part if more of ``kind`` may be added to it, else a new one. A seal closes its thinking."""
        last = self._choice.parts[-1] if self._choice.parts else None
        if isinstance(last, kind) and not (isinstance(last, Thinking) and last.signature):
            self._deltas.append(last.text)
            return last
        part = kind("")
        self._choice.parts.append(part)
        return part

    def _close(self) -> None:
        """Give the open part the text that was gathered for it."""
        if self._open is not None:
            self._open.text = "".join(self._deltas)
            self._open = None
            self._deltas.clear()

    def _join_arguments(self) -> None:
        for call, deltas in self._calls.values():
            call.arguments = "".join(deltas)
