"""The composition root: a configuration becomes objects that know each other, and these a gateway that runs."""

from __future__ import annotations

import asyncio
import logging
import platform
import sqlite3
import ssl
import time
from collections.abc import Mapping
from typing import Any

from proxy import __version__
from proxy.app.census import Census
from proxy.app.choices import adopt_keys, check_keys, chosen, counts_tokens, reads_on, tally
from proxy.app.predecessor import Predecessor
from proxy.app.running import Running
from proxy.app.succession import CannotUpgrade
from proxy.billing import database
from proxy.billing.books import Books
from proxy.billing.directory import Directory
from proxy.billing.keys import Keyring
from proxy.billing.ledger import ReadTooLong
from proxy.billing.options import Refused
from proxy.billing.state import Unusable
from proxy.billing.wallets import Wallets
from proxy.config import Config, ConfigError
from proxy.counts import Metrics
from proxy.dialects.chat.shapes import error_frame as chat_error_frame
from proxy.dialects.gemini.encode import error_frame as gemini_error_frame
from proxy.dialects.memory import Memory
from proxy.dialects.messages.encode import error_frame as messages_error_frame
from proxy.dialects.pace import Paces
from proxy.dialects.responses.encode import error_frame as responses_error_frame
from proxy.log import Bridge, Log
from proxy.notify import Notifier
from proxy.relay.means import Means
from proxy.relay.outbox import Outbox
from proxy.relay.queue import Queue
from proxy.relay.settlement import Settlement
from proxy.routing.catalog import Catalog
from proxy.routing.limits import KeyLimits
from proxy.routing.offers import Offers
from proxy.routing.pool import Pool
from proxy.server import routes
from proxy.server.documents import Documents
from proxy.server.gateway import Gateway
from proxy.server.listeners import CannotListen
from proxy.upstream.connections import Connections, system_tls

_LETTING_GO = 5.0
"""Seconds to wait for a lock that the process before has let go of."""
SWEEP = 0.25
"""Seconds between looks at the running calls: a timeout or heartbeat is at most this late."""


async def start(
    config: Config,
    log: Log,
    environ: Mapping[str, str],
    *,
    sweep: float = SWEEP,
    census: bool = True,
    tls: ssl.SSLContext | None = None,
    predecessor: Predecessor | None = None,
) -> Running:
    """Return a gateway of ``config`` that accepts requests. Raises CannotListen, CannotUpgrade, ConfigError, Unusable.

    ``census``: the accounts are asked what they serve. ``tls`` is what upstreams are verified against; by default the system's
    certificates. ``predecessor`` is whose listeners and books it goes on with.
    """
    _listen_to_others(log)
    tls = await _verification(config, tls)
    shared = await _handed_over(predecessor, config)
    books = await Books.open(
        config.state.directory,
        log,
        wall=time.time,
        retain=config.state.retain_requests,
        patience=0.0 if predecessor is None else _LETTING_GO,
    )
    keyring = Keyring(config.keys)
    wallets = Wallets(config.keys)
    try:
        directory = await _directory(config, books, keyring, wallets)
    except (ConfigError, Unusable):
        await books.close()
        raise
    now = asyncio.get_running_loop().time()
    catalog, metrics, pool = Catalog(config), _metrics(), Pool(config, now)
    paces = Paces()
    settlement = Settlement(log, books, tally(config, catalog, metrics), paces, time.time)
    connections = Connections(connect_timeout=config.timeouts.connect, tls=tls)
    means = _means(config, pool, wallets, connections, settlement, books, metrics, paces)
    gateway = _gateway(config, catalog, keyring, directory, means, books, log)
    notifier = Notifier(environ, silent=predecessor is not None)
    running = Running(gateway, connections, settlement, log, environ, sweep, notifier)
    if census:
        running.census = Census(gateway)
    try:
        await _recount(books, wallets, pool, config, now)
        if books.shared or predecessor is not None:
            running.go_on(predecessor, shared)
        await running.listen(None if predecessor is None else predecessor.listeners)
    except (CannotListen, Unusable):
        await running.close()
        raise
    return running


async def _handed_over(predecessor: Predecessor | None, config: Config) -> dict[str, Any]:
    """Have ``predecessor`` let go of the books; return what is shared with it. Raises CannotUpgrade."""
    if predecessor is None:
        return {}
    if predecessor.state != config.state.directory:
        raise CannotUpgrade(
            f"found [state] directory {config.state.directory}, expected {predecessor.state} as before; "
            "to move it, restart"
        )
    return await predecessor.hand_over()


def _listen_to_others(log: Log) -> None:
    """Have what libraries say through ``logging`` written to ``log``."""
    root = logging.getLogger()
    root.handlers = [Bridge(log)]
    root.setLevel(logging.WARNING)


def _means(
    config: Config,
    pool: Pool,
    wallets: Wallets,
    connections: Connections,
    settlement: Settlement,
    books: Books,
    metrics: Metrics,
    paces: Paces,
) -> Means:
    """Return what carries a call."""
    loop = asyncio.get_running_loop()
    return Means(
        loop=loop,
        clock=time.time,
        queue=Queue(),
        pool=pool,
        paces=paces,
        wallets=wallets,
        connections=connections,
        outbox=Outbox(loop),
        **chosen(config),
        frame_error={
            "chat": chat_error_frame,
            "messages": messages_error_frame,
            "responses": responses_error_frame,
            "gemini": gemini_error_frame,
        },
        settle=settlement.settle,
        bind=books.objects.bind,
        metrics=metrics,
    )


def _gateway(
    config: Config,
    catalog: Catalog,
    keyring: Keyring,
    directory: Directory,
    means: Means,
    books: Books,
    log: Log,
) -> Gateway:
    """Return what answers requests."""
    loop = asyncio.get_running_loop()
    return Gateway(
        config=config,
        catalog=catalog,
        keyring=keyring,
        pool=means.pool,
        key_limits=KeyLimits(config.models, config.limits.concurrency),
        counts_tokens=counts_tokens(config) or directory.roster.counts_tokens,
        reads_on=reads_on(config),
        means=means,
        books=books,
        directory=directory,
        memory=Memory(),
        offers=Offers(),
        log=log,
        clock=time.time,
        now=loop.time,
        routes=routes.find,
        documents=Documents.read(),
        version=__version__,
        started=loop.time(),
    )


async def _directory(config: Config, books: Books, keyring: Keyring, wallets: Wallets) -> Directory:
    """Return the keys of the database beside those of ``config``. Raises ConfigError, Unusable."""
    try:
        found = await Directory.open(books.ledger, keyring, wall=time.time, wallets=wallets)
    except (sqlite3.Error, Refused) as error:
        path = config.state.directory / database.NAME
        raise Unusable(f"cannot read the keys in {path}: {error}; restore a backup") from error
    check_keys(config, found)
    adopt_keys(config, found)
    return found


async def _recount(books: Books, wallets: Wallets, pool: Pool, config: Config, now: float) -> None:
    """Have wallets and the budgets of accounts go on with what was spent before. Raises Unusable."""
    try:
        if any(account.budget_usd is not None for account in config.accounts):
            for name, spent in (await books.spent_by_accounts()).items():
                seat = pool.seat(name)
                if seat is not None and seat.budget is not None:
                    seat.spend(spent.within(seat.budget.period), now, time.time())
        # Last: what is settled elsewhere from the end of this on is heard.
        if wallets.uncounted:
            wallets.count(await books.spent_by_wallets(), time.time())
    except (ReadTooLong, sqlite3.Error) as error:
        raise Unusable(
            f"cannot add up what was spent ({error}), expected a ledger that can be read; try again"
        ) from error


async def _verification(config: Config, tls: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return what upstreams are verified against, made in a thread; None if nobody is called over TLS."""
    if tls is not None:
        return tls
    called = [
        url
        for account in config.accounts
        for provider in (config.providers[account.provider],)
        for url in (account.base_url or provider.base_url, *provider.base_urls.values())
    ]
    return await asyncio.to_thread(system_tls) if any(map(_is_secure, called)) else None


def _is_secure(url: str) -> bool:
    return url.startswith("https:")


def _metrics() -> Metrics:
    """Return the metrics of a gateway that starts now."""
    metrics = Metrics()
    metrics.build.set((__version__, platform.python_version()), 1)
    metrics.config_taken.set((), 1)
    metrics.config_taken_at.set((), time.time())
    return metrics
