"""Asking OpenAI about a response that it keeps: what is sent for a path of ours, and how the answer is read.

An answer from the store is told as it is, also one that tells of a failure: that has been the answer to the call that made it.
Nothing of it is billed a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from proxy.dialects.passed import Passed, form_of, free
from proxy.dialects.plan import Passing, Plan, pass_on
from proxy.dialects.responses.splice import ResponsesSplice
from proxy.dialects.untouched import Watched
from proxy.errors import GatewayError, Kind
from proxy.providers import Provider
from proxy.usage import Usage

_QUERY = frozenset(
    ("include", "include[]", "stream", "starting_after", "include_obfuscation", "after", "limit", "order")
)  # fmt: skip
"""What may be asked beside the path. Anything else, the key above all, stays here."""


def passed_on(query: str) -> str:
    """Return of a client's query what its provider is asked."""
    return urlencode([pair for pair in parse_qsl(query) if pair[0] in _QUERY])


def asks_stream(query: str) -> bool:
    """Tell whether the query wants the response told once more, as a stream."""
    return ("stream", "true") in parse_qsl(query.lower())


def make_stored_plan(
    method: str, name: str, rest: str, query: str, request_id: str
) -> Callable[[Provider, str], Plan]:
    """Return what plans the question about the response ``name``; ``rest`` is what follows it in the path, as in ``/cancel``."""
    wanted = passed_on(query)
    stream = method == "GET" and not rest and asks_stream(query)

    def plan(provider: Provider, _: str) -> Plan:
        def answer(status: int, headers: Mapping[bytes, bytes]) -> Passed:
            if stream and form_of(status, headers) == "events":
                return Watched(Replay(request_id, provider.flags, lambda: 0), provider.flags, free)
            return Told("document", provider.flags, free, lambda _: b"")

        passing = Passing(
            content_type=None,
            accept=b"text/event-stream" if stream else b"application/json",
            answer=answer,
            method=method,
            subject=name,
        )
        path = f"/v1/responses/{name}{rest}" + (f"?{wanted}" if wanted else "")
        return pass_on(passing, "openai-responses", path, b"", stream=stream)

    return plan


class Told(Passed):
    """A document of the store, which is an object whatever it tells."""

    def finish(self) -> bytes:
        if not self.committed and not b"".join(self._gathered).lstrip().startswith(b"{"):
            self.ended = True
            self.error = GatewayError(Kind.MALFORMED, evidence="a stored response that is no JSON")
            return b""
        return super().finish()

    def usage(self) -> Usage:
        return Usage()


class Replay(ResponsesSplice):
    """A response of the store, told as the stream that it was."""

    def usage(self) -> Usage:
        return Usage()

    def _look(self, kind: str, document: dict[str, Any]) -> None:
        if kind == "response.failed":
            self.ended = self.committed = True
        else:
            super()._look(kind, document)
