"""How many tokens a prompt is: asked of an upstream that can count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from proxy.dialects import repair
from proxy.dialects.answer import WholeSplice
from proxy.dialects.gemini.write import count_tokens_request, read_token_count
from proxy.dialects.messages import native as messages_native
from proxy.dialects.plan import Asked, Plan
from proxy.dialects.reply import Upstream
from proxy.dialects.responses import write as responses_write
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Provider
from proxy.usage import Usage, count

_COUNTED = (
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "parallel_tool_calls",
)
"""What OpenAI's counting endpoint takes of a Responses request."""


class Counted(WholeSplice):
    """An answer to a question for a count, in the messages dialect. ``read`` finds the number in what came."""

    def __init__(self, read: Callable[[dict[str, Any]], int | None]) -> None:
        super().__init__(lambda _: Usage(), lambda: 0)
        self._read = read

    def finish(self) -> bytes:
        body = super().finish()
        if self.error is not None:
            return b""
        number = self._read(orjson.loads(body))
        if number is None:
            self.error = GatewayError(Kind.MALFORMED, evidence="a count without a number")
            return b""
        return orjson.dumps({"input_tokens": number})


def make_count_plan(asked: Asked, provider: Provider, model: str) -> Plan | None:
    """Return how to ask ``provider`` for the tokens of ``asked``, or None if it cannot count: then they are estimated."""
    upstream = Upstream(model, provider.flags)
    if "anthropic" in provider.dialects:
        body = orjson.dumps(asked.document) if asked.edited else asked.body
        return _plan(
            "anthropic",
            "/v1/messages/count_tokens",
            messages_native.rewritten(body, asked.document, model),
            _input_tokens,
            native=True,
        )
    conversation = asked.conversation()
    repair.repair(conversation)
    if "gemini" in provider.dialects:
        written = count_tokens_request(conversation, upstream)
        return _plan("gemini", written.path, orjson.dumps(written.body), read_token_count)
    if provider.flags.input_tokens and "openai-responses" in provider.dialects:
        request = responses_write.write_request(conversation, upstream).body
        counted = {name: value for name, value in request.items() if name in _COUNTED}
        return _plan(
            "openai-responses", "/v1/responses/input_tokens", orjson.dumps(counted), _input_tokens
        )
    return None


def _plan(
    dialect: Dialect,
    path: str,
    body: bytes,
    read: Callable[[dict[str, Any]], int | None],
    *,
    native: bool = False,
) -> Plan:
    return Plan(
        dialect=dialect,
        native=native,
        path=path,
        body=body,
        stream=False,
        dropped=frozenset(),
        answer=lambda _: Counted(read),
    )


def _input_tokens(document: dict[str, Any]) -> int | None:
    return count(document.get("input_tokens")) or None
