"""What the upstream will want back with a tool call, gathered while its answer goes by."""

from __future__ import annotations

from proxy.dialects.conversation import Call, Thinking
from proxy.dialects.reply import Reply, Sealed


class Seals:
    """What the upstream will want back with the first call: the sealed thinking before it, and the seal on it."""

    __slots__ = ("_call", "_parts", "_remember", "_thoughts", "called_any")

    def __init__(self, reply: Reply) -> None:
        self.called_any = False
        self._remember = reply.remember
        self._thoughts: list[str] = []
        self._parts: list[Sealed] = []
        self._call: str | None = None

    def thought(self, delta: str) -> None:
        if self._remember is not None and not self.called_any:
            self._thoughts.append(delta)

    def sealed(self, seal: str) -> None:
        text = "".join(self._thoughts)
        self._thoughts = []
        if seal:
            self.keep(Thinking(text, seal))

    def keep(self, part: Sealed) -> None:
        if self._remember is not None and not self.called_any:
            self._parts.append(part)

    def called(self, call_id: str, name: str, signature: str) -> None:
        if not self.called_any:
            self._call = call_id
            if signature:
                self.keep(Call(call_id, name, "", signature))
        self.called_any = True

    def remember(self) -> None:
        """Hand over what was kept, once, when the first call is whole."""
        if self._remember is not None and self._call is not None and self._parts:
            self._remember(self._call, tuple(self._parts))
        self._call = None
        self._parts = []
