"""How many tokens a prompt is: asked of an upstream that can count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from proxy.dialects import repair
from proxy.dialects.answer import WholeSplice
from proxy.dialects.asked import Asked
from proxy.dialects.gemini import native as gemini_native
from proxy.dialects.gemini.write import (
    count_tokens_request,
    method_path,
    read_token_count,
    resource,
)
from proxy.dialects.messages import native as messages_native
from proxy.dialects.messages import write as messages_write
from proxy.dialects.plan import Plan
from proxy.dialects.reply import Upstream
from proxy.dialects.responses import write as responses_write
from proxy.dialects.spoken import CLIENTS, ClientDialect
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Provider
from proxy.usage import Usage, count

_SHAPES: Mapping[ClientDialect, tuple[str, Mapping[str, Any]]] = {
    "messages": ("input_tokens", {}),
    "responses": ("input_tokens", {"object": "response.input_tokens"}),
    "gemini": ("totalTokens", {}),
}
"""What each dialect that asks calls the number, and what stands beside it."""

_COUNTED_BY_ANTHROPIC = ("model", "messages", "system", "tools", "tool_choice", "thinking")
"""What Anthropic's counting endpoint takes of a Messages request."""
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
_ASKED = (*_COUNTED, "conversation", "previous_response_id", "truncation", "personality")
"""What a client may ask it, which may refer to what is stored."""
_INPUT_TOKENS = "/v1/responses/input_tokens"


class Counted(WholeSplice):
    """An answer to a question for a count, told in ``dialect``. ``read`` finds the number in what came."""

    def __init__(
        self, read: Callable[[dict[str, Any]], int | None], dialect: ClientDialect
    ) -> None:
        super().__init__(lambda _: Usage(), lambda: 0)
        self._read = read
        self._dialect = dialect

    def finish(self) -> bytes:
        body = super().finish()
        if self.error is not None:
            return b""
        number = self._read(orjson.loads(body))
        if number is None:
            self.error = GatewayError(Kind.MALFORMED, evidence="a count without a number")
            return b""
        return orjson.dumps(told_count(self._dialect, number))


def told_count(dialect: ClientDialect, number: int) -> dict[str, Any]:
    """Return the document that tells a client of ``dialect`` the tokens of its prompt."""
    name, more = _SHAPES[dialect]
    return {**more, name: number}


def make_count_plan(asked: Asked, provider: Provider, model: str) -> Plan | None:
    """Return how to ask ``provider`` for the tokens of ``asked``, or None if it cannot count: then they are estimated."""
    upstream = Upstream(model, provider.flags)
    native = CLIENTS[asked.dialect].native
    if native in provider.dialects:
        return _native_plan(asked, native, model) if _counts(provider, native) else None
    plan = partial(_plan, asked)
    conversation = asked.conversation()
    repair.repair(conversation, param=CLIENTS[asked.dialect].turns)
    if "anthropic" in provider.dialects:
        request = messages_write.write_request(conversation, upstream).body
        body = _only(request, _COUNTED_BY_ANTHROPIC)
        return plan("anthropic", "/v1/messages/count_tokens", body, _input_tokens)
    if "gemini" in provider.dialects:
        written = count_tokens_request(conversation, upstream)
        return plan("gemini", written.path, orjson.dumps(written.body), read_token_count)
    if "openai-responses" in provider.dialects and _counts(provider, "openai-responses"):
        request = responses_write.write_request(conversation, upstream).body
        body = _only(request, _COUNTED)
        return plan("openai-responses", _INPUT_TOKENS, body, _input_tokens)
    return None


def _counts(provider: Provider, dialect: Dialect) -> bool:
    """Tell whether a provider that speaks ``dialect`` counts in it; of those that speak Responses few do."""
    return dialect != "openai-responses" or provider.flags.input_tokens


def _native_plan(asked: Asked, dialect: Dialect, model: str) -> Plan:
    """Return the question in the client's own dialect."""
    if dialect == "openai-responses":
        request = {name: asked.document[name] for name in _ASKED if name in asked.document}
        body = orjson.dumps({**request, "model": model})
        return _plan(asked, dialect, _INPUT_TOKENS, body, _input_tokens, native=True)
    if dialect == "anthropic":
        body = orjson.dumps(asked.document) if asked.edited else asked.body
        body = messages_native.rewritten(body, asked.document, model)
        path = "/v1/messages/count_tokens"
        return _plan(asked, dialect, path, body, _input_tokens, native=True)
    document = {**asked.document, "model": resource(model)} if asked.edited else asked.document
    body = orjson.dumps(document) if asked.edited else asked.body
    body = gemini_native.rewritten(body, document, model)
    if asked.edited:
        # Wrapped, as it came, or for settings that a bare question has no place for.
        body = b'{"generateContentRequest":%b}' % body
    path = method_path(model, "countTokens")
    plan = _plan(asked, dialect, path, body, read_token_count, native=True)
    # Its answer tells more than the number.
    plan.answer = lambda _: WholeSplice(lambda _: Usage(), lambda: 0)
    return plan


def _only(request: dict[str, Any], names: tuple[str, ...]) -> bytes:
    return orjson.dumps({name: value for name, value in request.items() if name in names})


def _plan(
    asked: Asked,
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
        answer=lambda _: Counted(read, asked.dialect),
    )


def _input_tokens(document: dict[str, Any]) -> int | None:
    return count(document.get("input_tokens")) or None
