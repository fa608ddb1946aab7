"""One try of one account: the upstream's answer, as it comes from the connection's callbacks.

Until content has come, nothing of the answer goes to the client and the try can be given up for another account. From then
on every read goes straight to the client's transport: no task is woken, nothing awaited, nothing logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from proxy.config.secrets import Secret
from proxy.dialects import refusal
from proxy.dialects.answer import Answer
from proxy.dialects.plan import Passed, Plan
from proxy.dialects.sse import EventTooLong
from proxy.errors import GatewayError, Kind, unknown_object
from proxy.relay.delivery import Delivery
from proxy.upstream.http1 import Connection, Failure

MAX_HELD = 256 * 1024
MAX_HELD_READS = 64
"""What is held back of an answer that has not come to its content: real metadata is a few events of a few KiB."""
MAX_DOCUMENT = 32 * 1024 * 1024
MAX_REFUSAL = 64 * 1024
_NO_CODING = frozenset((b"", b"identity", b"none", b"utf-8"))
LINGER = 1.0
"""Seconds that an upstream gets to end its body after it has said that the answer is over."""

_KINDS: dict[Failure, Kind] = {
    Failure.truncated: Kind.DISCONNECTED,
    Failure.malformed: Kind.MALFORMED,
    Failure.head_too_large: Kind.MALFORMED,
    Failure.internal: Kind.INTERNAL,
    Failure.connect_timeout: Kind.TIMEOUT_CONNECT,
}


@dataclass(frozen=True, slots=True)
class Refused:
    """The try failed before content. ``stale``: the request never reached anybody, it hit a connection that had died."""

    error: GatewayError
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Continues:
    """The upstream stopped in the middle and wants to be asked on with ``token``."""

    token: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The answer is with the client, or has ended in an error that is; ``document`` is a whole answer still to be sent."""

    document: bytes | None = None


Outcome = Refused | Continues | Delivered


class Host(Protocol):
    """The call that a try belongs to."""

    delivery: Delivery
    wants_stream: bool

    def passes(self, answer: Passed, status: int, headers: Mapping[bytes, bytes]) -> None:
        """Note how an answer begins that is passed on: ``wants_stream`` is known only now."""

    def first_byte(self, now: float) -> None: ...
    def first_content(self, now: float) -> bytes:
        """Note the moment of commitment; return the header lines that are known only now."""

    def settle(self, answer: Answer) -> None:
        """Close the books on ``answer``, whose last frame goes out next."""


class Attempt:
    """A receiver of one answer. ``outcome`` is resolved once; ``committed`` says that the client has bytes of it."""

    __slots__ = (
        "_flowing", "_held", "_held_reads", "_held_size", "_host", "_now", "_plan", "_refusal", "_secret", "_size", "_write",
        "answer", "committed", "connection", "headers", "outcome", "over_at", "sent_at", "status",
    )  # fmt: skip

    def __init__(
        self,
        host: Host,
        plan: Plan,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Attempt | None = None,
        secret: Secret | None = None,
    ) -> None:
        """``after`` is the one whose answer this one continues; ``secret`` is what the upstream is called with: some say it back."""
        self._host = host
        self._secret = secret
        self._plan = plan
        self._now: Callable[[], float] = loop.time
        self._refusal: list[bytes] | None = None
        self.status = 0
        self._held: list[bytes] = [] if after is None else after._held[:]  # noqa: SLF001 - another of its kind
        self._held_reads = 0
        self._held_size = 0
        self._size = 0
        self.answer: Answer | None = None if after is None else after.answer
        self.committed: bool = after is not None and after.committed
        self._write = host.delivery.write
        self._flowing = self.answer if self.committed else None
        """The answer whose bytes go on as they come: content has come, and the end has not."""
        self.connection = connection
        self.headers: dict[bytes, bytes] = {}
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        self.sent_at = loop.time()
        self.over_at: float | None = None
        """When the answer ended while the upstream's body did not."""

    @property
    def has_content(self) -> bool:
        """Content has come: not only metadata, of which the client has got what could not be held back."""
        return self.answer is not None and self.answer.committed

    @property
    def is_whole(self) -> bool:
        """A document has come, to its end, and is not with the client yet."""
        outcome = self.outcome
        if not outcome.done() or outcome.cancelled():
            return False
        found = outcome.result()
        return isinstance(found, Delivered) and found.document is not None

    @property
    def was_at_work(self) -> bool:
        """The upstream had the request and had not refused it when the client left.

        Of what is passed on nobody knows what it uses before an answer has begun.
        """
        is_known = self.answer is not None or self._plan.passing is None
        return self.outcome.cancelled() and self.status < 300 and is_known

    # What the connection tells.

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        self._host.first_byte(self._now())
        if not 200 <= status < 300:
            self._refusal = []
            self._flowing = None
            return
        coding = headers.get(b"content-encoding", b"identity")
        if coding.lower() not in _NO_CODING:
            self._give_up(
                GatewayError(
                    Kind.MALFORMED, evidence=f"a body in {coding!r}, which was not asked for"
                )
            )
            return
        passing = self._plan.passing
        if passing is not None:
            self.answer = passed = passing.answer(status, headers)
            self._host.passes(passed, status, headers)
            return
        if self.answer is None:
            kind = headers.get(b"content-type", b"").lower()
            # Imitations of the APIs label their streams as anything; a page or a document they label as what it is.
            unlabelled = self._plan.stream and b"json" not in kind and b"html" not in kind
            streams = b"event-stream" in kind or unlabelled
            self.answer = self._plan.answer(not streams)

    def body(self, data: bytes) -> None:
        answer = self._flowing
        if answer is not None:
            # The way of every token.
            try:
                out = answer.feed(data)
            except EventTooLong:
                self._break(GatewayError(Kind.MALFORMED, evidence="an event outgrew its limit"))
                return
            if answer.ended:
                self._conclude(out)
            elif out:
                self._write(out)
            return
        answer = self.answer
        if self._refusal is not None:
            self._refusal.append(data)
            self._held_size += len(data)
            if self._held_size > MAX_REFUSAL:
                self._give_up(self._refused(b"".join(self._refusal)))
            return
        if answer is None or self.over_at is not None:
            return
        try:
            out = answer.feed(data)
        except EventTooLong:
            self._give_up(GatewayError(Kind.MALFORMED, evidence="an event outgrew its limit"))
            return
        self._before_content(answer, out, len(data))

    def complete(self) -> None:
        if self.over_at is not None or self.outcome.done():
            self.over_at = None
            return
        if self._refusal is not None:
            self._give_up(self._refused(b"".join(self._refusal)), abort=False)
            return
        answer = self.answer
        if answer is None:
            self._give_up(
                GatewayError(Kind.MALFORMED, evidence="an answer without a body"), abort=False
            )
            return
        out = answer.finish()
        if answer.continuation is not None:
            if out:
                self._forward(self._released() + out)
            self._resolve(Continues(answer.continuation))
        elif not self._host.wants_stream:
            self._resolve(Refused(answer.error) if answer.error is not None else Delivered(out))
        elif answer.error is not None and not self.committed:
            self._resolve(Refused(answer.error))
        else:
            self._conclude(out)
            self.over_at = None

    def failed(self, failure: Failure) -> None:
        if self.over_at is not None or self.outcome.done():
            self.over_at = None
            return
        if failure is Failure.truncated and self._refusal is not None:
            # The status was enough to know what the upstream thinks.
            self._give_up(self._refused(b"".join(self._refusal)), abort=False)
            return
        error = GatewayError(
            _KINDS.get(failure, Kind.UNREACHABLE), evidence=f"connection: {failure}"
        )
        if self.committed and self.headers:
            self._break(error)
        else:
            self._resolve(Refused(error, stale=failure is Failure.reset_idle))

    # What the call decides.

    def watch(self, wrote: Callable[[], None]) -> None:
        """Have ``wrote`` called after each write of content that follows the first: a call that is paid piece by piece looks then.

        Any other try pays nothing for that.
        """
        write = self._write

        def watched(data: bytes) -> None:
            write(data)
            wrote()

        self._write = watched

    def expire(self, error: GatewayError) -> None:
        """Give the try up because its time, or the gateway's, is over."""
        self._break(error)

    def linger(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let an upstream whose answer is over end its body, for the sake of the connection, but not for long."""
        if self.over_at is not None:
            loop.call_later(LINGER, self._outstayed)

    def _outstayed(self) -> None:
        if self.over_at is not None:
            self.abort()

    def abort(self) -> None:
        """Drop the upstream at once; nothing more is heard of it."""
        self.connection.abort()
        self.over_at = None
        if not self.outcome.done():
            self.outcome.cancel()

    # Steps.

    def _before_content(self, answer: Answer, out: bytes, size: int) -> None:
        """Hold back what a stream says before its content, and let go when that comes."""
        if answer.error is not None and not answer.committed:
            self._give_up(answer.error)
            return
        self._size += size
        if self._size > MAX_DOCUMENT:
            # A client that streams may be answered with a document too, which is gathered all the same.
            self._give_up(GatewayError(Kind.MALFORMED, evidence="a document outgrew its limit"))
            return
        if not self._host.wants_stream:
            if not answer.committed:
                return
            # It is passed on, and has become too long to be held.
            self._host.wants_stream = True
        if out:
            self._held.append(out)
            self._held_size += len(out)
            # A comment is no metadata: some providers send one a second while a call is queued.
            self._held_reads += not out.startswith(b":")
        if answer.ended:
            self._conclude(b"")
        elif answer.committed and self._host.delivery.bodiless:
            # The head is all that was asked for.
            self._held.clear()
            self._conclude(b"")
            self.over_at = None
            self.connection.abort()
        elif answer.committed or self._held_size > MAX_HELD or self._held_reads > MAX_HELD_READS:
            # More than this is held back of nobody: from here on a failure is told in the stream.
            self._forward(self._released())

    def _forward(self, out: bytes) -> None:
        if self.committed:
            self._host.delivery.write(out)
        else:
            self.committed = True
            self._begin(out)

    def _begin(self, out: bytes) -> None:
        self._flowing = self.answer
        now = self._now()
        fields = self._host.first_content(now)
        delivery = self._host.delivery
        if not delivery.started:
            delivery.start(fields, out)
        elif out:
            delivery.write(out)

    def _conclude(self, out: bytes) -> None:
        """Send the last frames; the books are closed before they go."""
        answer = self.answer
        if answer is None:
            return
        if not self.committed:
            self.committed = True
            out = self._released() + out
            self._begin(b"")
        self.over_at = self._now()
        self._flowing = None
        if answer.error is not None and self._secret is not None:
            _conceal(answer.error, self._secret)
            out = _hidden(out, self._secret)
        self._host.settle(answer)
        passed = self._plan.passing is not None
        if passed and answer.error is not None and cast(Passed, answer).is_cut:
            # No byte of it could be told from what was asked for.
            self._host.delivery.abort()
        else:
            self._host.delivery.finish(out)
        self._resolve(Delivered())

    def _released(self) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        return held

    def _break(self, error: GatewayError) -> None:
        """End the try with ``error``: another account's turn before content, the client's error frame after it."""
        # Without a head this try has told nothing: what the client has is from the one that this one continues.
        told = self.committed and bool(self.headers)
        if told and self.answer is not None and not self.outcome.done():
            self._conclude(self.answer.fail(error))
            self.over_at = None
            self.connection.abort()
        else:
            self._give_up(error)

    def _give_up(self, error: GatewayError, *, abort: bool = True) -> None:
        if abort:
            self.connection.abort()
        self._flowing = None
        self._resolve(Refused(error))

    def _resolve(self, outcome: Outcome) -> None:
        if isinstance(outcome, Refused) and self._secret is not None:
            _conceal(outcome.error, self._secret)
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def _refused(self, body: bytes) -> GatewayError:
        if self.status == 404 and self._plan.subject is not None:
            return unknown_object(self._plan.subject)
        error = refusal.classify(self.status, self.headers, body)
        if self._plan.native:
            if error.kind in _TOLD_NATIVELY and body.lstrip()[:1] == b"{":
                error.native_body = body
            if self.status == 529 and self._plan.dialect == "anthropic":
                error.status = 529
        return error


def _conceal(error: GatewayError, secret: Secret) -> None:
    """Take the credential that an upstream was called with out of everything that ``error`` tells: some say it back."""
    error.message = secret.hide(error.message)
    error.evidence = secret.hide(error.evidence)
    error.param = error.param and secret.hide(error.param)
    error.code = error.code and secret.hide(error.code)
    error.args = (error.message,)
    if error.native_body is not None:
        error.native_body = _hidden(error.native_body, secret)


def _hidden(data: bytes, secret: Secret) -> bytes:
    return secret.hide(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


_TOLD_NATIVELY = frozenset((Kind.INVALID_REQUEST, Kind.CONTEXT, Kind.TOO_LARGE))
