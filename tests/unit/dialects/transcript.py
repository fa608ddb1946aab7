"""A turn that writes down every verb that is played on it."""

from __future__ import annotations

from typing import Any

from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError
from proxy.usage import Usage

Verb = tuple[Any, ...]


class Transcript:
    """``verbs`` holds (name, argument, …) in the order of the calls; what has a default value is there too."""

    def __init__(self) -> None:
        self.verbs: list[Verb] = []

    def begin(self, model: str, answer_id: str) -> None:
        self.verbs.append(("begin", model, answer_id))

    def choice(self, index: int) -> None:
        self.verbs.append(("choice", index))

    def text(self, delta: str) -> None:
        self.verbs.append(("text", delta))

    def thinking(self, delta: str) -> None:
        self.verbs.append(("thinking", delta))

    def signature(self, opaque: str) -> None:
        self.verbs.append(("signature", opaque))

    def redacted(self, opaque: str) -> None:
        self.verbs.append(("redacted", opaque))

    def refusal(self, delta: str) -> None:
        self.verbs.append(("refusal", delta))

    def image(self, mime: str, data: str) -> None:
        self.verbs.append(("image", mime, data))

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        self.verbs.append(("tool_call", index, call_id, name, signature))

    def arguments(self, index: int, delta: str) -> None:
        self.verbs.append(("arguments", index, delta))

    def call_done(self, index: int) -> None:
        self.verbs.append(("call_done", index))

    def usage(self, usage: Usage) -> None:
        self.verbs.append(("usage", usage))

    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None:
        self.verbs.append(("end", reason, stop_sequence, detail))

    def fail(self, error: GatewayError) -> None:
        self.verbs.append(("fail", error.kind, error.message))

    def named(self, name: str) -> list[Verb]:
        """The verbs called ``name``."""
        return [verb for verb in self.verbs if verb[0] == name]

    def joined(self, name: str) -> str:
        """The deltas of all verbs called ``name`` as one string."""
        return "".join(verb[-1] for verb in self.verbs if verb[0] == name)


def play(verbs: list[Verb], turn: Any) -> None:
    """Call every verb of ``verbs`` on ``turn``; a ``fail`` is given as ("fail", GatewayError)."""
    for name, *arguments in verbs:
        getattr(turn, name)(*arguments)


def merged(verbs: list[Verb]) -> list[Verb]:
    """Return ``verbs`` with neighbouring deltas of one kind (and one call) joined, and without empty ones."""
    out: list[Verb] = []
    for verb in verbs:
        if verb[0] in {"text", "thinking", "refusal", "arguments"}:
            if not verb[-1]:
                continue
            if out and out[-1][:-1] == verb[:-1]:
                out[-1] = (*verb[:-1], out[-1][-1] + verb[-1])
                continue
        out.append(verb)
    return out
