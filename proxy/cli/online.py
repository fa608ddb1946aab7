"""A free question to every account of a configuration, without a daemon."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop

from proxy import __version__
from proxy.config import Config
from proxy.server.accounts_api import render_probe
from proxy.upstream.connections import Connections
from proxy.upstream.probe import probe

_PATIENCE = 30.0
"""Seconds for an answer, after those for the connection."""
_AT_ONCE = 32


def ask_all(config: Config) -> list[dict[str, Any]]:
    """Return what came of it, account by account, as the admin API's ``test`` tells it; a credential is in none."""
    return uvloop.run(_ask_all(config))


async def _ask_all(config: Config) -> list[dict[str, Any]]:
    connections = Connections(connect_timeout=config.timeouts.connect)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(name: str) -> dict[str, Any]:
        account = accounts[name]
        async with turn:
            probed = await probe(
                account,
                config.providers[account.provider],
                connections,
                connect=config.timeouts.connect,
                answer=min(config.timeouts.response, _PATIENCE),
                agent=f"splice/{__version__}".encode(),
            )
        return render_probe(account, probed, cleared=False)

    accounts = {account.name: account for account in config.accounts}
    try:
        return await asyncio.gather(*map(ask, accounts))
    finally:
        connections.close()
