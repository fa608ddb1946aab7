"""One free question to an account: whether it answers, and what it says where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config.model import Account
from proxy.config.secrets import Secret
from proxy.dialects import refusal
from proxy.errors import GatewayError, Kind
from proxy.providers import Auth, Dialect, Provider
from proxy.upstream.connections import ConnectFailed, Connections, Origin, request_bytes
from proxy.upstream.headers import account_lines, client_lines
from proxy.upstream.http1 import Connection, Failure

_MAX_KEPT = 64 * 1024
"""Bytes of an answer: an error has fewer, and of a list of models the beginning is enough."""

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
    heard = Heard(loop, _MAX_KEPT)
    error: GatewayError | None
    try:
        await ask(url, account, provider, connections, heard, connect, answer, agent)
        error = fault(heard)
    except GatewayError as failed:
        error = failed
    return Probed(url, heard.status, loop.time() - started, error)


async def ask(
    url: str,
    account: Account,
    provider: Provider,
    connections: Connections,
    heard: Heard,
    connect: float,
    answer: float,
    agent: bytes,
) -> None:
    """GET ``url`` with the account's credential; raises GatewayError if no whole answer came."""
    origin = Origin.of(url, account.proxy)
    request = get_request(url, origin, provider.dialects[0], provider.auth, account.api_key, agent)
    await exchange(await _connect(connections, origin, connect), request, heard, answer)


def get_request(
    url: str, origin: Origin, dialect: Dialect, auth: Auth, secret: Secret | None, agent: bytes
) -> bytes | list[bytes]:
    """Return a GET of ``url`` with the account's credential. Raises GatewayError for one that cannot be sent."""
    revealed = secret.reveal() if secret is not None else None
    target = url[url.index("/", url.index("://") + 3) :].encode()
    try:
        lines = account_lines(auth, revealed, stream=False, agent=agent)
        lines += client_lines(dialect, {}, native=False)
        return request_bytes(b"GET", target, origin.host_header, lines, b"")
    except ValueError as error:
        raise GatewayError(Kind.UPSTREAM_AUTH, evidence=f"nothing was sent: {error}") from error


async def _connect(connections: Connections, origin: Origin, limit: float) -> Connection:
    try:
        # Not an idle one: that the way there works is part of the question.
        return await connections.acquire(origin, limit, fresh=True)
    except ConnectFailed as failed:
        slow = failed.failure is Failure.connect_timeout
        kind = Kind.TIMEOUT_CONNECT if slow else Kind.UNREACHABLE
        raise GatewayError(kind, evidence=failed.detail) from failed


async def exchange(
    connection: Connection, request: bytes | list[bytes], heard: Heard, limit: float
) -> None:
    """Let ``heard`` hear the answer, or at least its status if that is a refusal; raise what kept it from that."""
    connection.send(request, heard)
    try:
        async with asyncio.timeout(limit):
            failure = await heard.end
    except TimeoutError:
        raise GatewayError(Kind.TIMEOUT, evidence=f"no answer within {limit:g} s") from None
    finally:
        if heard.end.cancelled():
            connection.abort()
    if failure is not None and (heard.status or 200) < 300:
        raise GatewayError(Kind.DISCONNECTED, evidence=f"connection: {failure}")


def fault(heard: Heard) -> GatewayError | None:
    """Return what is wrong with an answer, or None."""
    status = heard.status or 0
    body = heard.text
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


class Heard:
    """A receiver that keeps the beginning of an answer. ``end`` is why there is no whole one, or None."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        """``most`` is how many bytes are enough."""
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.end: asyncio.Future[Failure | None] = loop.create_future()
        self.size = 0
        """Of the whole answer, as far as it has come."""
        self._most = most

    @property
    def text(self) -> bytes:
        return b"".join(self.parts)

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers

    def body(self, data: bytes) -> None:
        if self.size < self._most:
            self.parts.append(data)
        self.size += len(data)

    def complete(self) -> None:
        self._ends(None)

    def failed(self, failure: Failure) -> None:
        self._ends(failure)

    def _ends(self, failure: Failure | None) -> None:
        if not self.end.done():
            self.end.set_result(failure)
