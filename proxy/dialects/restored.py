"""A turn in the client's own terms: tool names, free-text tools and structured output as the client asked for them.

A translated request may have renamed tools, wrapped a free-text tool's input in JSON, or asked for structured output by a
forced tool. This filter between decoder and encoder undoes all three; where none was done it is left out.
"""

from __future__ import annotations

import orjson

from proxy.dialects.names import Names
from proxy.dialects.turn import StopReason, Turn
from proxy.errors import GatewayError


class Restored:
    """A ``Turn`` that passes everything on to ``turn``, restored.

    The arguments of a free-text tool are held until they are whole, since the text is inside a JSON string.
    """

    def __init__(
        self,
        turn: Turn,
        names: Names,
        *,
        json_tool: str | None = None,
        custom_tools: frozenset[str] = frozenset(),
    ) -> None:
        self._turn = turn
        self._names = names
        self._json_tool = json_tool
        self._custom_tools = custom_tools
        self._as_text: set[int] = set()
        self._held: dict[int, list[str]] = {}
        self._shift = 0
        self._index: dict[int, int] = {}
        self.begin = turn.begin
        self.text = turn.text
        self.thinking = turn.thinking
        self.signature = turn.signature
        self.redacted = turn.redacted
        self.refusal = turn.refusal
        self.image = turn.image
        self.usage = turn.usage

    def choice(self, index: int) -> None:
        self._release_all()
        self._as_text.clear()
        self._index.clear()
        self._shift = 0
        self._turn.choice(index)

    def tool_call(self, index: int, call_id: str, name: str, signature: str = "") -> None:
        if name == self._json_tool:
            self._as_text.add(index)
            self._shift += 1
            return
        name = self._names.to_client(name)
        self._index[index] = index - self._shift
        if name in self._custom_tools:
            self._held[index] = []
        self._turn.tool_call(index - self._shift, call_id, name, signature)

    def arguments(self, index: int, delta: str) -> None:
        if index in self._as_text:
            self._turn.text(delta)
        elif index in self._held:
            self._held[index].append(delta)
        else:
            self._turn.arguments(self._index[index], delta)

    def call_done(self, index: int) -> None:
        self._release(index)
        if index not in self._as_text:
            self._turn.call_done(self._index[index])

    def end(
        self, reason: StopReason, stop_sequence: str | None = None, detail: str | None = None
    ) -> None:
        self._release_all()
        if reason is StopReason.TOOL_CALLS and self._as_text and not self._index:
            reason = StopReason.STOP
        self._turn.end(reason, stop_sequence, detail)

    def fail(self, error: GatewayError) -> None:
        self._turn.fail(error)

    def _release_all(self) -> None:
        for index in list(self._held):
            self._release(index)

    def _release(self, index: int) -> None:
        held = self._held.pop(index, None)
        if held is not None:
            self._turn.arguments(self._index[index], free_text("".join(held)))


def free_text(arguments: str) -> str:
    """Return the input of a free-text tool from the JSON that it was wrapped in; what is not such JSON stays as it is."""
    # An answer that was cut for its length lacks the end of the wrapping.
    for whole in (arguments, arguments + '"}'):
        try:
            value = orjson.loads(whole)
        except orjson.JSONDecodeError:
            continue
        match value:
            case {"input": str(text)}:
                return text
            case _:
                return arguments
    return arguments
