"""One free question to an account: whether it answers, and what it says where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config.model import Account
from proxy.dialects import refusal
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Provider
from proxy.upstream.ask import Heard, exchange, get_request
from proxy.upstream.connections import ConnectFailed, Connections, Origin
from proxy.upstream.http1 import Connection, Failure

_MODELS: Mapping[Dialect, str] = {
    "openai-chat": "/v1/models",
    "openai-responses": "/v1/models",
    "anthropic": "/v1/models?limit=1",
    "gemini": "/v1beta/models?pageSize=1",
}
"""The list of models is free everywhere, and shown to whoever has a valid credential."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it. ``status`` is None if no answer came; ``error`` is None if all is well."""

    url: str
    status: int | None
    seconds: float
    error: GatewayError | None


async def probe(
    account: Account,
    provider: Provider,
    connections: Connections,
    *,
    connect: float,
    answer: float,
    agent: bytes,
) -> Probed:
    """Ask ``account`` over a new connection, for at most ``connect`` and then ``answer`` seconds."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    dialect = provider.dialects[0]
    url = provider.url(dialect, provider.probe or _MODELS[dialect], account.base_url)
    heard = Heard(loop)
    error: GatewayError | None
    try:
        origin = Origin.of(url, account.proxy)
        request = get_request(url, origin, dialect, provider.auth, account.api_key, agent)
        await exchange(await _connect(connections, origin, connect), request, heard, answer)
        error = _fault(heard)
    except GatewayError as failed:
        error = failed
    return Probed(url, heard.status, loop.time() - started, error)


async def _connect(connections: Connections, origin: Origin, limit: float) -> Connection:
    try:
        # Not an idle one: that the way there works is part of the question.
        return await connections.acquire(origin, limit, fresh=True)
    except ConnectFailed as failed:
        slow = failed.failure is Failure.connect_timeout
        kind = Kind.TIMEOUT_CONNECT if slow else Kind.UNREACHABLE
        raise GatewayError(kind, evidence=failed.detail) from failed


def _fault(heard: Heard) -> GatewayError | None:
    """Return what is wrong with an answer, or None."""
    status = heard.status or 0
    body = b"".join(heard.parts)
    if status in (404, 405):
        return GatewayError(
            Kind.NOT_FOUND,
            evidence=f"{status}: nothing can be read at this address; if the provider lists no models, "
            "that says nothing about the credential",
        )
    if not 200 <= status < 300:
        return refusal.classify(status, heard.headers, body)
    if body.lstrip()[:1] not in (b"{", b"["):
        # A portal or a proxy on the way says "200 OK" to anything.
        shown = body[:200].decode("utf-8", "replace")
        return GatewayError(Kind.MALFORMED, evidence=f"{status}, but no JSON: {shown}")
    return None
