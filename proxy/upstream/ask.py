"""One question to an account of our own making, with a short answer: nothing of it is a client's, and nothing is billed."""

from __future__ import annotations

import asyncio

from proxy.config.model import Account
from proxy.config.secrets import Secret
from proxy.dialects import refusal
from proxy.errors import GatewayError, Kind
from proxy.providers import Auth, Dialect, Provider
from proxy.upstream.connections import ConnectFailed, Connections, Origin, request_bytes
from proxy.upstream.headers import account_lines, client_lines
from proxy.upstream.http1 import Connection, Failure

MOST = 64 * 1024
"""Bytes of an answer that are kept: an error has fewer, and of a list of models the beginning is enough."""
_LONGEST = 1024 * 1024


async def ask(
    account: Account,
    provider: Provider,
    connections: Connections,
    path: str,
    *,
    connect: float,
    answer: float,
    agent: bytes,
    dialect: Dialect = "openai-chat",
) -> bytes:
    """Return what ``account`` answers to a GET of ``path``. Times in seconds. Raises GatewayError."""
    loop = asyncio.get_running_loop()
    url = provider.url(dialect, path, account.base_url)
    origin = Origin.of(url, account.proxy)
    request = get_request(url, origin, dialect, provider.auth, account.api_key, agent)
    fresh = False
    while True:
        heard = Heard(loop, _LONGEST)
        try:
            connection = await connections.acquire(origin, connect, fresh=fresh)
        except ConnectFailed as failed:
            raise GatewayError(Kind.UNREACHABLE, evidence=failed.detail) from failed
        await exchange(connection, request, heard, answer)
        if heard.failure is not Failure.reset_idle:
            break
        # A new connection cannot have died while it was idle.
        fresh = True
    status = heard.status or 0
    body = b"".join(heard.parts)
    if not 200 <= status < 300:
        raise refusal.classify(status, heard.headers, body)
    return body


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
    heard.failure = failure
    if failure is not None and failure is not Failure.reset_idle and (heard.status or 200) < 300:
        raise GatewayError(Kind.DISCONNECTED, evidence=f"connection: {failure}")


class Heard:
    """A receiver that keeps the beginning of an answer. ``end`` is why there is no whole one, or None."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int = MOST) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.failure: Failure | None = None
        self.end: asyncio.Future[Failure | None] = loop.create_future()
        self._most = most
        self._size = 0

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers

    def body(self, data: bytes) -> None:
        if self._size < self._most:
            self.parts.append(data)
            self._size += len(data)

    def complete(self) -> None:
        self._ends(None)

    def failed(self, failure: Failure) -> None:
        self._ends(failure)

    def _ends(self, failure: Failure | None) -> None:
        if not self.end.done():
            self.end.set_result(failure)
