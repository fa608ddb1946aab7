"""What a client asks for, before anybody knows who is to answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.dialects.conversation import Conversation
from proxy.dialects.estimate import prompt_tokens
from proxy.dialects.gemini import native as gemini_native
from proxy.dialects.native import with_first_member
from proxy.dialects.reply import Sealed
from proxy.dialects.spoken import CLIENTS, ClientDialect
from proxy.errors import GatewayError
from proxy.usage import Usage


@dataclass(slots=True, kw_only=True)
class Asked:
    """One call of a client, parsed: everything about it that does not depend on the upstream.

    ``document`` is ``body`` parsed, with the model's defaults and overrides applied (``edited`` says that they changed it).
    ``model`` is the name that the client used. ``recall`` puts back what a client does not echo, ``remember`` keeps it.
    """

    dialect: ClientDialect
    body: bytes
    document: dict[str, Any]
    edited: bool
    model: str
    stream: bool
    request_id: str
    now: float
    mint: Callable[[], str]
    recall: Callable[[Conversation], None]
    remember: Callable[[str, tuple[Sealed, ...]], None]
    array: bool = False
    """The stream is to be one JSON array instead of events (Gemini's without ``alt=sse``)."""
    sealed: bool = False
    """Its body goes as it is, whatever it says: nothing can be limited."""
    embeds: bool = False
    """It is answered with numbers: there is no output to limit or to pay for."""
    charge: Callable[[Usage], int] | None = None
    """What the key pays for a usage, in micro-USD, once somebody is asked whose prices are known by then."""
    pace: float | None = None
    """How many tokens an event of the model holds that is asked, if anything is known of it by then."""
    _estimated: int | None = None

    def conversation(self) -> Conversation:
        """Return the neutral form, fresh each time, since writers note in it what they render."""
        conversation = CLIENTS[self.dialect].read_request(self.document)
        # Gemini's clients say it in the path.
        conversation.stream = self.stream
        self.recall(conversation)
        return conversation

    def estimate_input(self) -> int:
        """Return about how many tokens the prompt is; counted once, since a long stream is asked several times."""
        if self._estimated is None:
            try:
                self._estimated = prompt_tokens(CLIENTS[self.dialect].read_request(self.document))
            except GatewayError:
                self._estimated = len(self.body) // 4
        return self._estimated

    @property
    def output_limit(self) -> int | None:
        """How many tokens the client wants to be told at most; of two limits the higher, since providers differ in which counts."""
        if self.dialect == "gemini":
            return gemini_native.output_limit(self.document) or None
        found = [self.document.get(name) for name in CLIENTS[self.dialect].limits]
        return max([limit for limit in found if limit is not None], default=None)

    @property
    def in_background(self) -> bool:
        """Whether the provider is to work on it whether the client stays or not."""
        return self.dialect == "responses" and self.document.get("background") is True

    @property
    def heartbeat(self) -> bytes | None:
        """What keeps the client's connection warm once its answer has begun; None: nothing may come in between."""
        return None if self.sealed else CLIENTS[self.dialect].heartbeat

    @property
    def choices(self) -> int:
        """How many answers the client wants."""
        if self.dialect == "gemini":
            return gemini_native.candidates(self.document)
        wanted = self.document.get("n") if self.dialect == "chat" else None
        return 1 if wanted is None else int(wanted)

    def limit_output(self, tokens: int) -> None:
        """Want no more than ``tokens`` of an answer that the client did not limit. Its other bytes stay as they are."""
        if self.dialect == "gemini":
            gemini_native.limit_output(self.document, tokens)
            self.edited = True
            return
        limits = CLIENTS[self.dialect].limits
        nulls = [name for name in limits if name in self.document]
        for name in nulls:
            del self.document[name]
        self.document[limits[0]] = tokens
        if nulls or self.edited:
            self.edited = True
        else:
            self.body = with_first_member(self.body, b'"%b":%d' % (limits[0].encode(), tokens))
