"""The composition root: a configuration becomes objects, listeners, and a process that ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import shutil
import signal
import socket
import sqlite3
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from proxy import __version__
from proxy import demo as demo_provider
from proxy.billing import database, pricelist
from proxy.billing.books import Books
from proxy.billing.directory import Directory
from proxy.billing.keys import Keyring
from proxy.billing.ledger import ReadTooLong
from proxy.billing.options import Refused
from proxy.billing.state import Unusable
from proxy.billing.tariff import Tariff
from proxy.billing.wallets import Wallets
from proxy.config import (
    Change,
    Config,
    ConfigError,
    ReadOn,
    admin_socket,
    changes,
    key_hash,
    load,
    loads,
    new_key,
)
from proxy.demo.greeting import greeting
from proxy.dialects.chat.encode import error_frame as chat_error_frame
from proxy.dialects.gemini.encode import error_frame as gemini_error_frame
from proxy.dialects.memory import Memory
from proxy.dialects.messages.encode import error_frame as messages_error_frame
from proxy.dialects.responses.encode import error_frame as responses_error_frame
from proxy.log import Bridge, Log, open_log
from proxy.metrics import MAX_MODELS, Metrics
from proxy.notify import Notifier
from proxy.relay.means import Means
from proxy.relay.queue import Queue
from proxy.relay.settlement import Settlement
from proxy.relay.tally import Tally
from proxy.relay.way import Ways
from proxy.routing.catalog import Catalog
from proxy.routing.limits import KeyLimits
from proxy.routing.pool import Pool
from proxy.server import routes
from proxy.server.admin import Admin
from proxy.server.certificate import expiry
from proxy.server.drain import drain as finish
from proxy.server.gateway import Gateway
from proxy.server.guard import Limits, Server
from proxy.server.listeners import CannotListen, OwnSocket, close_all, open_sockets, tls_context
from proxy.server.listeners import serve as accept
from proxy.tasks import spawn
from proxy.upstream.connections import Connections, system_tls

SWEEP = 0.25
"""Seconds between looks at the running calls: a timeout or heartbeat is at most this late."""
_KEEPALIVE_SWEEPS = 20
_COUNT_AGAIN = 5.0
"""Seconds until a count of what was spent that failed is tried again."""
_DEMO_PORT = 8080
_DEMO_GRACE = 3.0


def serve(path: Path) -> int:
    """Run the daemon on the configuration at ``path`` until it is told to stop; return the exit code.

    Raises ConfigError if the file is not a configuration.
    """
    config = load(path, os.environ)
    log = open_log(config.logging.level, config.logging.format, os.environ, time.time)
    for warning in config.warnings:
        log.warning(warning)
    try:
        uvloop.run(_serve(config, log))
    except (CannotListen, Unusable) as error:
        sys.stderr.write(f"splice: {error}\n")
        return 1
    finally:
        log.flush()
    return 0


async def _serve(config: Config, log: Log) -> None:
    stop = _stop_signals(log.flush)
    async with AsyncExitStack() as stack:
        running = await start(config, log, os.environ)
        stack.push_async_callback(running.close)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.reload_soon)
        _settle_memory()
        running.notifier.ready()
        log.info("ready", version=__version__, listen=", ".join(map(str, config.server.listen)))
        await stop.wait()
        running.notifier.stopping()
        log.info("stopping", in_flight=len(running.gateway.calls))
        await running.drain(config.server.grace_period)


def _settle_memory() -> None:
    """Keep the collector away from what lives as long as the process, and from looking too often at the rest.

    An answered request leaves no cycles behind, so there is little to find: with the defaults, looking for it took eight per
    cent of a plain request's CPU. One whose client hung up does: its cancelled task holds the traceback that holds the task,
    and some thirty KiB with it. Such calls have lived long enough to be in the oldest generation, so that one is looked
    through every few times: with 20 in place of 2, the process grew by 8 MiB for every thousand streams half of which hung up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 2, 2)


def _stop_signals(at_once: Callable[[], None]) -> asyncio.Event:
    """Return the event that SIGTERM or SIGINT sets; a second one calls ``at_once`` and ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            at_once()
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return stop


class Running:
    """A gateway that accepts requests."""

    def __init__(
        self,
        gateway: Gateway,
        connections: Connections,
        settlement: Settlement,
        log: Log,
        environ: Mapping[str, str],
        sweep: float,
        notifier: Notifier,
    ) -> None:
        self.gateway = gateway
        self.notifier = notifier
        gateway.reload = self.reload
        self._books = gateway.books
        self._environ = environ
        self.addresses: tuple[str | tuple[str, int], ...] = ()
        """Where the public listeners really are: (host, port), or the path of a unix socket."""
        self.admin_addresses: tuple[str | tuple[str, int], ...] = ()
        """The same of ``[admin] listen``."""
        self._connections = connections
        self._settlement = settlement
        self._log = log
        self._interval = sweep
        self._public: list[asyncio.Server] = []
        self._private: list[asyncio.Server] = []
        self._own: OwnSocket | None = None
        self._servers: list[Server] = []
        """The public one first."""
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._counting: asyncio.Task[None] | None = None
        self._keepers = [
            spawn(
                work(), name, lambda error: self._log.failure("a keeper of the books died", error)
            )
            for work, name in (
                (gateway.books.keep_synced, "journal"),
                (gateway.books.keep_booked, "ledger"),
            )
        ]

    async def listen(self) -> None:
        """Open every listener of the configuration, or none of them: raises CannotListen."""
        config, environ = self.gateway.config, self._environ
        context = self._tls = tls_context(config.server.tls)
        if config.server.tls is not None:
            ends = expiry(config.server.tls.cert_file)
            self.gateway.means.metrics.certificate_ends.set((), ends)
        with ExitStack() as undo:
            public = open_sockets(config.server.listen, environ, "server")
            undo.callback(close_all, public)
            private = open_sockets(config.admin.listen, environ, "admin")
            undo.callback(close_all, private)
            self._own = own = OwnSocket(admin_socket(config.state.directory, environ))
            undo.pop_all()
        self.addresses = tuple(_address_of(one) for one in public)
        self.admin_addresses = tuple(_address_of(one) for one in private)
        limits = Limits(body=config.server.max_body)
        server = Server(self.gateway.handle, limits=limits, trusted=config.server.trusted_proxies)
        admin = Admin(self.gateway)
        network = Server(admin.over_network, limits=limits)
        local = Server(admin.over_socket, limits=limits)
        self._servers = [server, network, local]
        self._public = await accept(server, public, context)
        self._private = await accept(network, private, None) + await accept(
            local, [own.socket], None
        )
        self._sweeper = spawn(
            self._sweep(), "sweep", lambda error: self._log.failure("the sweep died", error)
        )

    # Reloading.

    def reload_soon(self) -> None:
        """Reload, and let the log tell what came of it: what SIGHUP asks for."""
        spawn(self._reload_and_tell(), "reload", lambda error: self._log.failure("reload", error))

    async def _reload_and_tell(self) -> None:
        try:
            found = await self.reload()
        except ConfigError as error:
            self._log.write("error", "configuration not reloaded", {"faults": list(error.faults)})
        else:
            self._log.info("configuration reloaded", changes=[str(change) for change in found])

    async def reload(self) -> list[Change]:
        """Read the configuration file again and go by it from the next request on; return what is different.

        Running calls end as they began. Raises ConfigError, and then everything stays as it was.
        """
        async with self._reloading:
            self.notifier.reloading()
            try:
                return await self._reload()
            finally:
                # Also where nothing came of it: systemd waits for this.
                self.notifier.ready()

    async def _reload(self) -> list[Change]:
        gateway = self.gateway
        before = gateway.config
        if before.path is None:
            raise ConfigError("found no file that the configuration was read from")
        metrics = gateway.means.metrics
        metrics.config_taken.set((), 0)
        config = await asyncio.to_thread(load, before.path, self._environ)
        async with gateway.directory.unchanging():
            _check_keys(config, gateway.directory)
            _renew_certificate(config, self._tls)
            self._adopt(config)
        metrics.config_taken.set((), 1)
        metrics.config_taken_at.set((), gateway.clock())
        if config.server.tls is not None:
            metrics.certificate_ends.set((), expiry(config.server.tls.cert_file))
        return changes(before, config)

    def _adopt(self, config: Config) -> None:
        """Go by ``config`` from now on. Nothing awaits here: a request sees the old configuration or the new one."""
        gateway = self.gateway
        now = gateway.now()
        gateway.pool.adopt(config, now, gateway.clock())
        gateway.key_limits.adopt(config.models, config.limits.concurrency)
        gateway.means.wallets.adopt(config.keys)
        gateway.means = replace(gateway.means, **_chosen(config))
        gateway.catalog = Catalog(config)
        self._settlement.tally = _tally(config, gateway.catalog, gateway.means.metrics)
        gateway.keyring.adopt(config.keys)
        _adopt_keys(config, gateway.directory)
        gateway.counts_tokens = _counts_tokens(config) or gateway.directory.roster.counts_tokens
        gateway.reads_on = _reads_on(config)
        gateway.config = config
        self._log.level = config.logging.level
        self._servers[0].trust(config.server.trusted_proxies)
        # Somebody may have waited for just this.
        gateway.means.queue.wake()

    async def drain(self, grace: float) -> None:
        """Stop accepting and let the running calls end; after ``grace`` seconds the late ones are told that it is over.

        The admin listener stays: it is asked what is being waited for.
        """
        for listener in self._public:
            listener.close()
        late = await finish(self.gateway, self._servers[0], grace)
        self._log.info("drained", ended_early=late)

    async def close(self) -> None:
        """Drop what is left: listeners, clients, upstreams."""
        if self._own is not None:
            self._own.remove()
        for listener in (*self._public, *self._private):
            listener.close()
        for task in (self._sweeper, self._counting):
            if task is not None:
                task.cancel()
        for server in self._servers:
            # Idle connections first: the shutdown would wait for their next request, and not answer it.
            server.pre_shutdown()
            await server.shutdown(timeout=1)
        self._connections.close()
        # Last, when nothing is left that could be settled.
        self._books.stop()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._books.close()
        self.notifier.close()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        lag = self.gateway.means.metrics.lag
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            now = loop.time()
            lag.observe((), max(now - due, 0.0))
            self._look_at_calls(now)
            if self.gateway.means.wallets.uncounted and self._counting is None:
                self._counting = spawn(
                    self._count_anew(),
                    "count",
                    lambda error: self._log.failure("wallets could not be counted", error),
                )
            turn += 1
            if turn % _KEEPALIVE_SWEEPS == 0:
                self._connections.sweep(now)
                self.gateway.key_limits.sweep(now)
            # From here, so that a loop that hangs and a sweep that died are both noticed.
            self.notifier.beat(now, self._status())

    def _status(self) -> str:
        doing = "draining" if self.gateway.draining else "serving"
        return f"{doing}, {len(self.gateway.calls)} in flight"

    async def _count_anew(self) -> None:
        """Count what wallets with new terms have spent."""
        try:
            spent = await self._books.spent_by_wallets()
            self.gateway.means.wallets.count(spent, self.gateway.clock())
        except (ReadTooLong, sqlite3.Error) as error:
            self._log.failure("what keys have spent could not be read, and is tried again", error)
            await asyncio.sleep(_COUNT_AGAIN)
        finally:
            self._counting = None

    def _look_at_calls(self, now: float) -> None:
        # Not in the loop of the sweep: its frame would hold the last call, and its body, while it sleeps.
        for call in list(self.gateway.calls):
            call.sweep(now)
            record = call.progress(now)
            if record is not None:
                self._books.progress(record.row(self.gateway.clock()))


def _address_of(one: socket.socket) -> str | tuple[str, int]:
    name = one.getsockname()
    return name if isinstance(name, str) else (name[0], name[1])


async def start(
    config: Config,
    log: Log,
    environ: Mapping[str, str],
    *,
    sweep: float = SWEEP,
    tls: ssl.SSLContext | None = None,
) -> Running:
    """Return a gateway of ``config`` that accepts requests. Raises CannotListen, ConfigError, Unusable.

    ``tls`` is what upstreams are verified against; by default the system's certificates.
    """
    bridge = Bridge(log)
    root = logging.getLogger()
    root.handlers = [bridge]
    root.setLevel(logging.WARNING)
    books, tls = await asyncio.gather(
        Books.open(
            config.state.directory, log, wall=time.time, retain=config.state.retain_requests
        ),
        _verification(config, tls),
    )
    keyring = Keyring(config.keys)
    wallets = Wallets(config.keys)
    try:
        directory = await _directory(config, books, keyring, wallets)
    except (ConfigError, Unusable):
        await books.close()
        raise
    connections = Connections(connect_timeout=config.timeouts.connect, tls=tls)
    loop = asyncio.get_running_loop()
    pool = Pool(config, loop.time())
    catalog = Catalog(config)
    metrics = _metrics()
    settlement = Settlement(log, books, _tally(config, catalog, metrics), time.time)
    means = Means(
        loop=loop,
        clock=time.time,
        queue=Queue(),
        pool=pool,
        wallets=wallets,
        connections=connections,
        **_chosen(config),
        frame_error={
            "chat": chat_error_frame,
            "messages": messages_error_frame,
            "responses": responses_error_frame,
            "gemini": gemini_error_frame,
        },
        settle=settlement.settle,
        metrics=metrics,
    )
    gateway = Gateway(
        config=config,
        catalog=catalog,
        keyring=keyring,
        pool=pool,
        key_limits=KeyLimits(config.models, config.limits.concurrency),
        counts_tokens=_counts_tokens(config) or directory.roster.counts_tokens,
        reads_on=_reads_on(config),
        means=means,
        books=books,
        directory=directory,
        memory=Memory(),
        log=log,
        clock=time.time,
        now=loop.time,
        routes=routes.find,
        version=__version__,
        started=loop.time(),
    )
    running = Running(gateway, connections, settlement, log, environ, sweep, Notifier(environ))
    try:
        await _recount(books, wallets, pool, config, loop.time())
        await running.listen()
    except (CannotListen, Unusable):
        await running.close()
        raise
    return running


async def _recount(books: Books, wallets: Wallets, pool: Pool, config: Config, now: float) -> None:
    """Have wallets and the budgets of accounts go on with what was spent before. Raises Unusable."""
    try:
        if wallets.uncounted:
            wallets.count(await books.spent_by_wallets(), time.time())
        if any(account.budget_usd is not None for account in config.accounts):
            for name, spent in (await books.spent_by_accounts()).items():
                seat = pool.seat(name)
                if seat is not None and seat.budget is not None:
                    seat.spend(spent.within(seat.budget.period), now, time.time())
    except (ReadTooLong, sqlite3.Error) as error:
        raise Unusable(
            f"cannot add up what was spent ({error}), expected a ledger that can be read; try again"
        ) from error


async def _directory(config: Config, books: Books, keyring: Keyring, wallets: Wallets) -> Directory:
    """Return the keys of the database beside those of ``config``. Raises ConfigError, Unusable."""
    try:
        found = await Directory.open(books.ledger, keyring, wall=time.time, wallets=wallets)
    except (sqlite3.Error, Refused) as error:
        path = config.state.directory / database.NAME
        raise Unusable(f"cannot read the keys in {path}: {error}; restore a backup") from error
    _check_keys(config, found)
    _adopt_keys(config, found)
    return found


def _check_keys(config: Config, directory: Directory) -> None:
    """Raise ConfigError for keys that the database has as well."""
    conflicts = directory.roster.conflicts(config.keys)
    if conflicts:
        raise ConfigError(*conflicts)


def _adopt_keys(config: Config, directory: Directory) -> None:
    directory.roster.adopt({key.name: key.hash for key in config.keys}, config.keys_policy.prefix)


def _chosen(config: Config) -> dict[str, Any]:
    """Return what the configuration chooses of the means of a call."""
    providers = {account.provider for account in config.accounts}
    return {
        "tariff": Tariff(config, pricelist.read(config.state.directory, providers)),
        "streaming": config.streaming,
        "retry": config.retry,
        "expose": config.server.expose,
        "ways": Ways(f"splice/{__version__}".encode()),
    }


def _renew_certificate(config: Config, context: ssl.SSLContext | None) -> None:
    """Read the certificate that ``config`` names into ``context``, for the connections to come.

    Raises ConfigError for files that are no certificate, and where TLS would begin or end: a listener cannot change that.
    """
    if (config.server.tls is None) != (context is None):
        raise ConfigError("server.tls: found a change from or to plain HTTP, which needs a restart")
    if config.server.tls is None or context is None:
        return
    try:
        # Tried on a context of its own first: half of a pair would break the one that serves.
        tls_context(config.server.tls)
    except CannotListen as error:
        raise ConfigError(f"server.tls: {error}") from error
    context.load_cert_chain(config.server.tls.cert_file, config.server.tls.key_file)


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


def _reads_on(config: Config) -> bool:
    """Tell whether any answer is read on when its client has left."""
    chosen = [config.streaming.on_disconnect, *(one.on_disconnect for one in config.accounts)]
    return any(isinstance(one, ReadOn) for one in chosen)


def _counts_tokens(config: Config) -> bool:
    """Tell whether anybody has a limit by tokens."""
    return (
        any(account.tpm for account in config.accounts)
        or any(model.tpm for model in config.models)
        or any(key.tpm for key in config.keys)
    )


def _tally(config: Config, catalog: Catalog, metrics: Metrics) -> Tally:
    """Return what counts requests by the names that ``config`` spells out."""
    names = catalog.named()[:MAX_MODELS]
    return Tally(metrics, names, routes.template, keys=config.metrics.keys)


def _metrics() -> Metrics:
    """Return the metrics of a gateway that starts now."""
    metrics = Metrics()
    metrics.build.set((__version__, platform.python_version()), 1)
    metrics.config_taken.set((), 1)
    metrics.config_taken_at.set((), time.time())
    return metrics


# The demo.


def demo(port: int | None) -> int:
    """Run a gateway with its own provider on ``port`` (None: the first free one from 8080); return the exit code."""
    with tempfile.TemporaryDirectory(prefix="splice-demo-") as directory:
        try:
            uvloop.run(_demo(port, directory))
        except (CannotListen, Unusable) as error:
            sys.stderr.write(f"splice: {error}\n")
            return 1
    return 0


async def _demo(port: int | None, directory: str) -> None:
    stop = _stop_signals(partial(shutil.rmtree, directory, ignore_errors=True))
    chosen = port if port is not None else _free_pair(_DEMO_PORT)
    key = new_key("sk-splice-")
    log = open_log("warning", "auto", os.environ, time.time)
    async with AsyncExitStack() as stack:
        provider = await demo_provider.start()
        stack.push_async_callback(provider.close)
        text = demo_provider.config_text(provider.url, chosen, key_hash(key), directory)
        # Written down for the commands that ask it; the key is in it by its hash alone.
        path = Path(directory) / "config.toml"
        path.touch(mode=0o600)
        path.write_text(text)
        config = loads(text, path, os.environ)
        running = await start(config, log, os.environ)
        stack.push_async_callback(running.close)
        public, admin = (
            f"http://{listen}" for listen in (config.server.listen[0], config.admin.listen[0])
        )
        # As it was called: in a fresh checkout only .venv/bin has it.
        splice = sys.argv[0] if sys.argv[0].endswith("splice") else "splice"
        sys.stdout.write(greeting(public, admin, key, f"{splice} -c {path}"))
        sys.stdout.flush()
        await stop.wait()
        await running.drain(_DEMO_GRACE)


def _free_pair(first: int) -> int:
    """Return the first port from ``first`` that is free together with the one after it, for the admin listener."""
    for port in range(first, first + 1000, 2):
        try:
            for one in (port, port + 1):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", one))
        except OSError:
            continue
        return port
    raise CannotListen(f"found no free port from {first} to {first + 1000}; name one with --port")
