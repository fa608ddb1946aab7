"""What an answer's encoder must know of the request that it answers, and what all encoders share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.dialects.conversation import Call, Conversation, Redacted, Thinking
from proxy.dialects.names import Names, flat_name
from proxy.dialects.turn import Turn
from proxy.errors import GatewayError
from proxy.providers import Flags
from proxy.usage import Usage, at_least, estimate_output

Sealed = Thinking | Redacted | Call
"""What an upstream wants back with a tool call: its thinking, or the call with the signature on it."""

LONGEST_UNSTREAMED = 21_333
"""Above this ``max_tokens`` Anthropic's own SDKs refuse to wait for an unstreamed answer (ten minutes of output)."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The upstream side of a translation: which model is called, and the quirks of the provider that serves it."""

    model: str
    flags: Flags = field(default_factory=Flags)


@dataclass(frozen=True, slots=True)
class Written:
    """A request in an upstream's dialect.

    ``path`` is relative to the provider's base URL; ``dropped`` are the client's names of the parameters that were not
    rendered and ``weakened`` of those of which less was rendered than asked (a forced tool as ``auto``). ``json_tool`` is the name of
    the tool that stands in for structured output. ``stream`` says whether the upstream is asked to stream, which it may
    be although the client is not.
    """

    path: str
    body: dict[str, Any]
    names: Names
    dropped: frozenset[str] = frozenset()
    weakened: frozenset[str] = frozenset()
    json_tool: str | None = None
    stream: bool = False


@dataclass(slots=True, kw_only=True)
class Reply:
    """One answer to be: how the client called the model, and what it asked to be told.

    ``mint`` returns 24 fresh hexadecimal digits. ``namespaces`` maps a flat tool name to its (namespace, name).
    ``remember`` takes a call's id and what the upstream wants back with it, for clients that do not echo it.
    ``estimate_input`` returns the prompt's tokens where the upstream tells no usage, ``charge`` what the key pays for a
    usage, in micro-USD. ``echo`` holds the request's fields
    that the Responses dialect repeats in its answer. ``array``: a stream of the Gemini dialect without ``alt=sse``, which is one
    JSON array that grows.
    """

    model: str
    created: int
    request_id: str
    mint: Callable[[], str]
    include_usage: bool = False
    thinking_blocks: bool = False
    legacy_functions: bool = False
    custom_tools: frozenset[str] = frozenset()
    namespaces: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    echo: Mapping[str, Any] = field(default_factory=dict)
    remember: Callable[[str, tuple[Sealed, ...]], None] | None = None
    estimate_input: Callable[[], int] = lambda: 0
    charge: Callable[[Usage], int] | None = None
    array: bool = False


class Encoder(Turn, Protocol):
    """A turn that renders itself as a stream.

    ``frames`` collects what the verbs rendered since it was last emptied. ``committed`` turns true with the first content:
    text, thinking, a tool call, a refusal, redacted reasoning, an image, or the end.
    """

    frames: list[bytes]
    committed: bool
    ended: bool
    error: GatewayError | None
    answer_id: str
    """What the client reads as the answer's id; empty until ``begin``."""


class Meter:
    """Keeps what an answer consumed: the upstream's own figures, or an estimate from what it said.

    ``pace``: how many tokens of this model an event holds, as far as anybody knows. ``events`` counts those with content.
    """

    __slots__ = ("_pace", "_quarters", "events", "reported")

    def __init__(self, pace: float | None = None) -> None:
        self.reported: Usage | None = None
        self.events = 0
        self._pace = pace
        self._quarters = 0

    def saw(self, delta: str) -> None:
        """Count ``delta`` towards the estimate; runs once a token."""
        self.events += 1
        length = len(delta)
        if delta.isascii():
            self._quarters += length
        else:
            self._quarters += 3 * length - 2 * len(delta.encode("ascii", "ignore"))

    def usage(self, estimate_input: Callable[[], int]) -> Usage:
        """Return the upstream's usage, or an estimate that says that it is one."""
        if self.reported is not None:
            return self.reported
        return Usage(input=estimate_input(), output=self.seen, estimated=True)

    def broken_off(self, estimate_input: Callable[[], int]) -> Usage:
        """Return the usage of an answer without its end: what the upstream told, and no less output than came.

        It is an estimate: what an upstream has told before the end may have grown since.
        """
        return at_least(self.usage(estimate_input), self.seen)._replace(estimated=True)

    @property
    def seen(self) -> int:
        """About how many tokens of output have come, whatever the upstream says."""
        return estimate_output(-(-self._quarters // 4), self.events, self._pace)


def reply_facts(conversation: Conversation) -> dict[str, Any]:
    """Return the fields of ``Reply`` that follow from the request alone."""
    return {
        "include_usage": conversation.include_usage,
        "thinking_blocks": conversation.wants_thinking_blocks,
        "legacy_functions": conversation.legacy_functions,
        "custom_tools": frozenset(
            flat_name(tool.namespace, tool.name) for tool in conversation.tools if tool.custom
        ),
        "namespaces": {
            f"{tool.namespace}__{tool.name}": (tool.namespace, tool.name)
            for tool in conversation.tools
            if tool.namespace
        },
    }
