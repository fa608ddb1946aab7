"""A gateway that accepts requests: its listeners, its sweep, its reloads, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from proxy.app.census import Census
from proxy.app.choices import (
    adopt_keys,
    check_keys,
    chosen,
    counts_tokens,
    reads_on,
    renew_certificate,
    tally,
)
from proxy.billing.ledger import ReadTooLong
from proxy.config import Change, Config, ConfigError, admin_socket, changes, load
from proxy.log import Log
from proxy.notify import Notifier
from proxy.relay.settlement import Settlement
from proxy.routing.catalog import Catalog
from proxy.server.admin import Admin
from proxy.server.certificate import expiry
from proxy.server.drain import drain as finish
from proxy.server.gateway import Gateway
from proxy.server.guard import Limits, Server
from proxy.server.listeners import OwnSocket, close_all, open_sockets, tls_context
from proxy.server.listeners import serve as accept
from proxy.tasks import spawn
from proxy.upstream.connections import Connections

_KEEPALIVE_SWEEPS = 20
_COUNT_AGAIN = 5.0
"""Seconds until a count of what was spent that failed is tried again."""


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
        self.census: Census | None = None
        """Who asks the accounts what they serve, if anybody shall; to be set before ``listen``."""
        self._asking: asyncio.Task[None] | None = None
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
        if self.census is not None:
            self._asking = spawn(
                self.census.keep(),
                "census",
                lambda error: self._log.failure("the census died", error),
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
            check_keys(config, gateway.directory)
            renew_certificate(config, self._tls)
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
        gateway.means = replace(gateway.means, **chosen(config))
        gateway.catalog = Catalog(config)
        self._settlement.tally = tally(config, gateway.catalog, gateway.means.metrics)
        gateway.keyring.adopt(config.keys)
        adopt_keys(config, gateway.directory)
        gateway.counts_tokens = counts_tokens(config) or gateway.directory.roster.counts_tokens
        gateway.reads_on = reads_on(config)
        gateway.config = config
        if self.census is not None:
            self.census.adopt()
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
        for task in (self._sweeper, self._counting, self._asking):
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
