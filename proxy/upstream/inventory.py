"""The list of models of an account, asked of its provider."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson

from proxy.config.model import Account
from proxy.dialects.offered import Offered, read_offered
from proxy.errors import GatewayError, Kind
from proxy.providers import Dialect, Provider
from proxy.upstream.connections import Connections
from proxy.upstream.probe import Heard, ask, fault

MAX_LIST = 4 * 1024 * 1024
"""Bytes. The longest known list, with a paragraph on each of some hundred models, has an eighth of that."""

_PATHS: Mapping[Dialect, str] = {
    "openai-chat": "/v1/models",
    "openai-responses": "/v1/models",
    "anthropic": "/v1/models?limit=1000",
    "gemini": "/v1beta/models?pageSize=1000",
}
"""A page each, the longest that may be asked for."""


def list_url(account: Account, provider: Provider) -> str:
    """Return where the account's list is read."""
    dialect = provider.dialects[0]
    return provider.url(dialect, _PATHS[dialect], account.base_url)


async def read_list(
    account: Account,
    provider: Provider,
    connections: Connections,
    *,
    connect: float,
    answer: float,
    agent: bytes,
) -> tuple[Offered, ...]:
    """Return what the account's provider lists, asked for at most ``connect`` and then ``answer`` seconds.

    Raises GatewayError where that is nothing, or no list.
    """
    heard = Heard(asyncio.get_running_loop(), MAX_LIST)
    url = list_url(account, provider)
    await ask(url, account, provider, connections, heard, connect, answer, agent)
    error = fault(heard)
    if error is not None:
        raise error
    if heard.size > MAX_LIST:
        raise GatewayError(Kind.MALFORMED, evidence=f"a list of models of {heard.size} bytes")
    # Not on the loop: the largest takes some ten milliseconds.
    found = await asyncio.to_thread(_read, heard.text)
    if found is None:
        raise GatewayError(Kind.MALFORMED, evidence="no list of models")
    return found


def _read(body: bytes) -> tuple[Offered, ...] | None:
    try:
        return read_offered(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
