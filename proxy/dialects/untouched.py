"""Calls of a provider's own paths: the client's bytes go as they are and so do the upstream's, and are only looked at.

What is looked for is what the splice of the dialect looks for. It reads along, and what it would have put right stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from proxy.dialects.answer import Answer, Made
from proxy.dialects.asked import Asked
from proxy.dialects.passed import Form, Passed, form_of, free
from proxy.dialects.plan import USAGE_READERS, Passing, Plan, pass_on, splice_answer
from proxy.dialects.responses.shapes import kept
from proxy.dialects.spoken import CLIENTS
from proxy.errors import GatewayError
from proxy.providers import Dialect, Flags, Provider
from proxy.usage import Usage

Reader = Callable[[object, Flags], Usage | None]


def make_untouched_plan(
    asked: Asked, provider: Provider, _: str, *, path: str, count: bool = False
) -> Plan:
    """Return how the body of ``asked`` goes to ``path`` of ``provider``. ``count``: it asks for a number of tokens, which is free."""
    dialect = native_dialect(asked, provider)
    passing = Passing(
        content_type=b"application/json",
        accept=b"text/event-stream" if asked.stream and not asked.array else b"*/*",
        answer=partial(_answer, asked, dialect, provider.flags, count=count),
    )
    return pass_on(passing, dialect, path, asked.body, stream=asked.stream)


def native_dialect(asked: Asked, provider: Provider) -> Dialect:
    """Return the provider's dialect that has the endpoints of ``asked``: embeddings are told by either of OpenAI's."""
    native = CLIENTS[asked.dialect].native
    return native if native in provider.dialects else provider.dialects[0]


def _answer(
    asked: Asked,
    dialect: Dialect,
    flags: Flags,
    status: int,
    headers: Mapping[bytes, bytes],
    *,
    count: bool,
) -> Passed:
    form = form_of(status, headers)
    estimate = free if count else partial(_estimate, asked)
    if form == "events" and asked.stream:
        return Watched(splice_answer(asked, dialect, flags, is_document=False), flags, estimate)
    read: Reader = _nothing if count else partial(_read, dialect)
    keeps = dialect == "openai-responses" and asked.document.get("store") is not False
    member = "usageMetadata" if dialect == "gemini" else "usage"
    return Passed(form, flags, estimate, _no_frame, kept if keeps else _none, read, member=member)


class Watched(Passed):
    """Events that go on as they come while ``watcher``, the splice of their dialect, reads along."""

    def __init__(self, watcher: Answer, flags: Flags, estimate: Callable[[Passed], Usage]) -> None:
        form: Form = "events"
        super().__init__(form, flags, estimate, _no_frame)
        self._watcher = watcher

    @property
    def seen(self) -> int:
        return self._watcher.seen

    def feed(self, data: bytes) -> bytes:
        watcher = self._watcher
        watcher.feed(data)
        if watcher.error is not None:
            return self.fail(watcher.error)
        self.committed = watcher.committed
        self._told()
        return data

    def finish(self) -> bytes:
        self.ended = True
        self._watcher.finish()
        self._told()
        return b"" if self._watcher.error is None else self.fail(self._watcher.error)

    def fail(self, error: GatewayError) -> bytes:
        self.ended = True
        self.error = error
        # A frame of its own, wherever the upstream stopped.
        return b"\n\n" + self._watcher.fail(error)

    def usage(self) -> Usage:
        return self._watcher.usage()

    def _told(self) -> None:
        self.answer_id = self._watcher.answer_id
        self.made = self._watcher.made


def _read(dialect: Dialect, document: object, flags: Flags) -> Usage | None:
    """Return what a document tells, or the last that tells something of a stream that is one array."""
    read = USAGE_READERS[dialect]
    for one in reversed(document) if isinstance(document, list) else (document,):
        found = read(one, flags) if isinstance(one, dict) else None
        if found is not None:
            return found
    return None


def _estimate(asked: Asked, answer: Passed) -> Usage:
    said = 0 if asked.embeds else answer.size // 8
    return Usage(input=asked.estimate_input(), output=said, estimated=True)


def _nothing(_: object, __: Flags) -> None:
    return None


def _none(_: dict[str, Any]) -> Sequence[Made]:
    return ()


def _no_frame(_: GatewayError) -> bytes:
    return b""
