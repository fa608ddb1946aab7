"""Asking OpenAI about a response that it keeps: what is sent for a path of ours, and how the answer is read.

An answer from the store is told as it is, also one that tells of a failure: that has been the answer to the call that made it.
Nothing of it is billed a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson

from proxy.dialects.answer import Answer, WholeSplice
from proxy.dialects.plan import Plan
from proxy.dialects.responses.splice import ResponsesSplice
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
        def answer(is_document: bool) -> Answer:  # noqa: FBT001 - what a plan's answer is called with
            if is_document or not stream:
                return Told(lambda _: None, lambda: 0)
            return Replay(request_id, provider.flags, lambda: 0)

        return Plan(
            dialect="openai-responses",
            native=True,
            path=f"/v1/responses/{name}{rest}" + (f"?{wanted}" if wanted else ""),
            body=b"",
            stream=stream,
            dropped=frozenset(),
            answer=answer,
            method=method,
            subject=name,
        )

    return plan


class Told(WholeSplice):
    """A document of the store."""

    def finish(self) -> bytes:
        self.ended = True
        body = b"".join(self._gathered)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            self.error = GatewayError(Kind.MALFORMED, evidence="a stored response that is no JSON")
            return b""
        self.committed = True
        return body

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
