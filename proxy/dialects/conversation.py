"""The neutral request: what a client asks of a model, whatever dialect it asked in.

A reader (``<dialect>.read``) makes a ``Conversation`` from a parsed body, ``proxy.dialects.repair`` puts its turns into an
order that every upstream accepts, and a writer (``<dialect>.write``) renders it for one upstream model.

Rules that hold here:

1. Content is never lost silently. A part that a writer has no form for is a 400.
2. A parameter may be lost, but is named. A reader enters each optional parameter that the client gave (and that is not
   null) in ``given``, under its neutral name, with the client's own name for it; a writer calls ``carry`` for each that it
   renders, and ``weaken`` for each of which it renders less than was asked. What is given and neither carried nor weakened is
   ``dropped``; the client is told both by the names in ``given``.
3. The same request gives the same bytes, every time: prompt caches and signed thinking depend on stable prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

Json = Mapping[str, Any]
"""A JSON object that is carried along as it came (a schema, a cache marker), never looked into past its border."""


# Parts. ``cache`` is Anthropic's ``cache_control`` object where the client set one.


@dataclass(slots=True)
class Text:
    text: str
    cache: Json | None = None


@dataclass(slots=True)
class Image:
    """Exactly one of ``data`` (base64, with ``mime``), ``url`` and ``file_id`` is set."""

    data: str | None = None
    mime: str | None = None
    url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    cache: Json | None = None
    path: str = ""
    """Where in the client's body it stood, for the 400 of an upstream that cannot take it."""


@dataclass(slots=True)
class File:
    """A document: exactly one of ``data`` (base64, with ``mime``), ``url`` and ``file_id`` is set.

    Plain text is ``mime="text/plain"`` with base64 data, like every other kind.
    """

    data: str | None = None
    mime: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    cache: Json | None = None
    path: str = ""


@dataclass(slots=True)
class Audio:
    """Base64 ``data`` in a ``format`` such as ``wav`` or ``mp3``."""

    data: str
    format: str
    path: str = ""


@dataclass(slots=True)
class Thinking:
    """A model's reasoning; ``signature`` is its opaque seal, in the envelope of ``proxy.dialects.envelope``.

    ``text`` is empty where the provider hides it and gives the seal only.
    """

    text: str
    signature: str = ""


@dataclass(slots=True)
class Redacted:
    """Reasoning that the provider gave in encrypted form only; ``data`` may be in an envelope."""

    data: str


@dataclass(slots=True)
class Call:
    """A tool call of the model. ``arguments`` is the JSON text as the model wrote it, perhaps broken, or "" for none.

    ``signature`` is Gemini's seal on the call, in an envelope. A custom tool takes free text: ``custom`` says that
    ``arguments`` is that text and not JSON.
    """

    id: str
    name: str
    arguments: str
    signature: str = ""
    custom: bool = False
    namespace: str | None = None
    cache: Json | None = None


@dataclass(slots=True)
class Result:
    """What a tool returned; ``content`` holds texts, images and files."""

    call_id: str
    content: list[Text | Image | File | Audio]
    is_error: bool = False
    cache: Json | None = None
    name: str | None = None
    """The tool's name where the client's dialect matches results by name."""
    in_parts: bool = False
    """The client gave a list of parts and not a bare string; it is sent on in the same form where a dialect has both."""


@dataclass(slots=True)
class Refusal:
    text: str


Part = Text | Image | File | Audio | Thinking | Redacted | Call | Result | Refusal


@dataclass(slots=True)
class Turn:
    """What one role said at one go. Tool results are parts of a user turn.

    ``effort`` is set on a system turn that changes the effort from here on (Claude Code does).
    """

    role: Role
    parts: list[Part]
    effort: Effort | None = None


@dataclass(slots=True)
class Tool:
    """A function that the model may call. ``parameters`` is a JSON schema; None means "no arguments".

    ``grammar`` is the (syntax, definition) of a custom tool that restricts its free text. A ``namespace`` groups tools in
    the Responses dialect; elsewhere the name is ``<namespace>__<name>``. ``deferred`` tools stay hidden until a
    ``tool_reference`` in the history names them. A ``stub`` was not declared by the client: it was called in the history.
    """

    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: tuple[str, str] | None = None
    namespace: str | None = None
    deferred: bool = False
    stub: bool = False
    cache: Json | None = None


@dataclass(slots=True)
class ToolChoice:
    """``tool`` forces the one called ``name``; ``allowed`` limits ``auto`` and ``required`` to some names."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(slots=True)
class Format:
    """The form of the answer: free text, any JSON object, or JSON that fits ``schema``."""

    kind: Literal["text", "json", "schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None


@dataclass(slots=True)
class Reasoning:
    """How much a model shall think: an ``effort``, or a token ``budget``, or neither (the model's default).

    ``off`` is an explicit wish for none. ``want_text``: "yes" where the client asked to see the thinking, "implied" where
    it only set an effort (Anthropic and Gemini writers then show it, Responses does not), "no" where it asked not to.
    """

    effort: Effort | None = None
    budget: int | None = None
    off: bool = False
    want_text: Literal["yes", "implied", "no"] = "implied"
    adaptive: bool = False
    """The client asked for thinking and left the amount to the model (Anthropic's adaptive thinking)."""
    kind: Literal["enabled", "adaptive", "disabled", "between_tools"] | None = None
    """The type by which a client of another dialect named Anthropic's thinking: a model that knows it gets that very type."""
    display: str | None = None
    """What the client said beside that type of how the thinking is to be shown."""


@dataclass(slots=True)
class WebSearch:
    """The provider's own search tool.

    ``location`` is the approximate user location with flat keys, ``context_size`` how much of what is found the model gets to
    see. A writer carries them as ``web_search.location`` and ``web_search.context_size``.
    """

    location: Json | None = None
    context_size: str | None = None


@dataclass(slots=True)
class Conversation:
    """One request. Every optional field is None (or empty) where the client did not set it."""

    system: list[Text] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    n: int = 1
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Json | None = None
    format: Format = field(default_factory=Format)
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    user: str | None = None
    user_is_opaque: bool = False
    """``user`` is what a messages client calls ``metadata.user_id``: any text, perhaps JSON, perhaps personal. OpenAI gets its
    hash (``proxy.dialects.identity``)."""
    cache_key: str | None = None
    cache: Json | None = None
    service_tier: str | None = None
    metadata: Json | None = None
    web_search: WebSearch | None = None
    stream: bool = False
    include_usage: bool = False
    wants_thinking_blocks: bool = False
    """The client asked for reasoning, so signed thinking goes back to it in the extension fields of its dialect."""
    legacy_functions: bool = False
    """A chat client of the ``functions`` era: its answer names the call ``function_call``."""
    given: dict[str, str] = field(default_factory=dict)
    """Neutral name → the client's own name. This and what follows is for rule 2."""
    _carried: set[str] = field(default_factory=set)
    _weakened: set[str] = field(default_factory=set)

    def let_last_speak(self, texts: int) -> None:
        """Where nobody has said anything, make the last so many texts of ``system``, which came as one message, a turn."""
        if texts and not self.turns:
            self.turns.append(Turn("system", [*self.system[-texts:]]))
            del self.system[-texts:]

    def carry(self, *names: str) -> None:
        self._carried.update(names)

    def weaken(self, name: str) -> None:
        self._weakened.add(name)

    @property
    def dropped(self) -> frozenset[str]:
        lost = self.given.keys() - self._carried - self._weakened
        # Of what is lost as a whole the parts (``whole.part``) are not named.
        return frozenset(
            self.given[name]
            for name in lost
            if "." not in name or name.partition(".")[0] not in lost
        )

    @property
    def weakened(self) -> frozenset[str]:
        return frozenset(self.given[name] for name in self.given.keys() & self._weakened)

    def choose_of_nothing(self) -> None:
        """Note what becomes of the choice among tools where none is sent: only a call that was to be forced is missed."""
        free = self.tool_choice is None or self.tool_choice.mode in ("auto", "none")
        (self.carry if free else self.weaken)("tool_choice")


def is_web_link(url: str) -> bool:
    """Tell whether ``url`` is one that any provider can fetch, and not a name in the store of one of them."""
    return url[:8].lower().startswith(("https://", "http://"))


def is_content(part: Part) -> bool:
    """Tell whether ``part`` says anything: an empty text does not, and upstreams refuse it."""
    return not (isinstance(part, Text | Refusal) and not part.text)
