"""One question to an account of our own making, on a connection that is there already: nothing of it is billed."""

from __future__ import annotations

import asyncio

from proxy.config.model import Account
from proxy.dialects import refusal
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Provider
from proxy.upstream.connections import ConnectFailed, Connections, Origin
from proxy.upstream.http1 import Connection
from proxy.upstream.probe import Heard, exchange, get_request

_LONGEST = 1024 * 1024
"""Bytes of an answer."""
_DIALECT: Dialect = "openai-chat"
"""What is asked for in this way has paths of OpenAI's."""
_AGAIN = (Kind.DISCONNECTED,)


async def ask(
    account: Account,
    provider: Provider,
    connections: Connections,
    path: str,
    *,
    connect: float,
    answer: float,
    agent: bytes,
) -> bytes:
    """Return what ``account`` answers to a GET of ``path``. Times in seconds. Raises GatewayError."""
    url = provider.url(_DIALECT, path, account.base_url)
    origin = Origin.of(url, account.proxy)
    request = get_request(url, origin, _DIALECT, provider.auth, account.api_key, agent)
    heard = Heard(asyncio.get_running_loop(), _LONGEST)
    try:
        await exchange(await _acquired(connections, origin, connect), request, heard, answer)
    except GatewayError as error:
        if error.kind not in _AGAIN or heard.status is not None:
            raise
        # A connection that had been idle may have died, and its neighbours with it; to read twice does no harm.
        heard = Heard(asyncio.get_running_loop(), _LONGEST)
        connection = await _acquired(connections, origin, connect, fresh=True)
        await exchange(connection, request, heard, answer)
    if not 200 <= (heard.status or 0) < 300:
        raise refusal.classify(heard.status or 0, heard.headers, heard.text)
    return heard.text


async def _acquired(
    connections: Connections, origin: Origin, limit: float, *, fresh: bool = False
) -> Connection:
    try:
        return await connections.acquire(origin, limit, fresh=fresh)
    except ConnectFailed as failed:
        raise GatewayError(Kind.UNREACHABLE, evidence=failed.detail) from failed
