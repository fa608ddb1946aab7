"""Asking the upstream accounts, every ten minutes, what they serve."""

from __future__ import annotations

import asyncio

from proxy.errors import GatewayError
from proxy.server.gateway import Gateway
from proxy.upstream.inventory import list_url, read_list

EVERY = 600.0
"""Seconds between two questions to an account: a model that was loaded on a server of one's own is listed by then."""
_PATIENCE = 10.0
"""Seconds for an answer."""


class Census:
    """``keep`` asks until it is cancelled; who fails to answer keeps the list that he told last. No request waits for it."""

    def __init__(self, gateway: Gateway, every: float = EVERY) -> None:
        self._gateway = gateway
        self._every = every
        self._wanted = asyncio.Event()
        self.adopt()

    def adopt(self) -> None:
        """Go by the gateway's configuration as it is now, and ask anew."""
        config = self._gateway.config
        urls = {
            account.name: list_url(account, config.providers[account.provider])
            for account in config.accounts
        }
        self._gateway.offers.adopt(config, urls)
        self._wanted.set()

    async def keep(self) -> None:
        """Ask everybody at the start, every so often, and after each ``adopt``."""
        while True:
            self._wanted.clear()
            await self._ask_everybody()
            try:
                async with asyncio.timeout(self._every):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _ask_everybody(self) -> None:
        # One after the other: nobody waits for this, and ten accounts of one server are ten questions.
        gateway = self._gateway
        config = gateway.config
        for account in config.accounts:
            provider = config.providers[account.provider]
            seat = gateway.pool.seat(account.name)
            if not provider.lists_models or seat is None or not seat.enabled:
                continue
            try:
                found = await read_list(
                    account,
                    provider,
                    gateway.means.connections,
                    connect=config.timeouts.connect,
                    answer=_PATIENCE,
                    agent=gateway.means.ways.agent,
                )
            except GatewayError as error:
                # What it says instead may hold the credential, and the kind is enough: `splice accounts test` tells more.
                gateway.log.debug(
                    "no list of models", account=account.name, error_type=error.row.error_type
                )
                continue
            if self._wanted.is_set():
                # The configuration is another one by now, and asks anew.
                return
            gateway.offers.note(account.name, list_url(account, provider), found)
