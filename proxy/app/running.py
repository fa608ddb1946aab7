"""A gateway that accepts requests: its listeners, its sweep, its reloads, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from proxy.app import shares
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
from proxy.app.predecessor import Predecessor
from proxy.app.successor import Successor
from proxy.billing.ledger import ReadTooLong
from proxy.config import Change, Config, ConfigError, admin_socket, changes, load
from proxy.log import Log
from proxy.notify import Notifier
from proxy.relay.call import Call
from proxy.relay.settlement import Settlement
from proxy.routing.catalog import Catalog
from proxy.server.admin import Admin
from proxy.server.certificate import expiry
from proxy.server.drain import drain as finish
from proxy.server.gateway import Gateway
from proxy.server.guard import Limits, Server
from proxy.server.handover import Before
from proxy.server.listeners import (
    Inheritance,
    OwnSocket,
    close_named,
    open_sockets,
    tls_context,
)
from proxy.server.listeners import serve as accept
from proxy.tasks import contained, spawn
from proxy.upstream.connections import Connections

_KEEPALIVE_SWEEPS = 20
_A_MOMENT = 2.0
"""Seconds in which a process ends that has nothing left to do."""
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
        self._listeners: dict[str, list[int]] = {}
        self._predecessor: Predecessor | None = None
        """Whose place this one took."""
        self._is_alone = asyncio.Event()
        """No process before this one settles what it began."""
        self._is_alone.set()
        self._successor: Successor | None = None
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

    async def listen(self, inherited: Inheritance | None = None) -> None:
        """Open every listener of the configuration, or none of them: raises CannotListen. ``inherited`` ones are open already."""
        inherited = inherited or Inheritance({})
        config, environ = self.gateway.config, self._environ
        context = self._tls = tls_context(config.server.tls)
        if config.server.tls is not None:
            ends = expiry(config.server.tls.cert_file)
            self.gateway.means.metrics.certificate_ends.set((), ends)
        with ExitStack() as undo:
            named = open_sockets(config.server.listen, environ, "server", inherited)
            undo.callback(close_named, named)
            named_private = open_sockets(config.admin.listen, environ, "admin", inherited)
            undo.callback(close_named, named_private)
            path = admin_socket(config.state.directory, environ)
            self._own = own = OwnSocket(path, inherited)
            undo.pop_all()
        inherited.close()
        public, private = _flat(named), _flat(named_private)
        self.addresses = tuple(_address_of(one) for one in public)
        self.admin_addresses = tuple(_address_of(one) for one in private)
        self._listeners = {
            name: [one.fileno() for one in found]
            for name, found in (named | named_private | {own.name: [own.socket]}).items()
        }
        limits = Limits(body=config.server.max_body, client_write=config.timeouts.client_write)
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
        config, means = await asyncio.to_thread(self._read, before.path)
        async with gateway.directory.unchanging():
            check_keys(config, gateway.directory)
            # The last that can fail.
            ends = renew_certificate(config, self._tls)
            self._adopt(config, means)
        metrics.config_taken.set((), 1)
        metrics.config_taken_at.set((), gateway.clock())
        if ends is not None:
            metrics.certificate_ends.set((), ends)
        return changes(before, config)

    def _read(self, path: Path) -> tuple[Config, dict[str, Any]]:
        config = load(path, self._environ)
        return config, chosen(config)

    def _adopt(self, config: Config, means: dict[str, Any]) -> None:
        """Go by ``config``, which has chosen ``means``, from now on.

        Nothing awaits here, and nothing fails: a request sees the old configuration or the new one.
        """
        gateway = self.gateway
        now = gateway.now()
        gateway.pool.adopt(config, now, gateway.clock())
        gateway.key_limits.adopt(config.models, config.limits.concurrency)
        gateway.means.wallets.adopt(config.keys)
        gateway.means = replace(gateway.means, **means)
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
        for server in self._servers:
            server.client_write = config.timeouts.client_write
        # Somebody may have waited for just this.
        gateway.means.queue.wake()

    # Another process.

    def unchanging(self) -> AbstractAsyncContextManager[None]:
        """Return what keeps the configuration as it is while it is entered."""
        return self._reloading

    def listeners(self) -> Mapping[str, list[int]]:
        """Return the numbers of the listening sockets, by what they are for."""
        return self._listeners

    def go_on(self, predecessor: Predecessor | None, shared: Mapping[str, Any]) -> None:
        """Let calls in for a part of what is left, until the other process has ended and what it cost is booked.

        That is ``predecessor``, or one of which nothing but its journal is known.
        """
        self._is_alone.clear()
        self._predecessor = predecessor
        if predecessor is not None:
            self.gateway.before = Before(predecessor.pid)
        shares.go_on(self.gateway, shared)
        self._books.heard = partial(shares.book, self.gateway)

    async def take_over(self) -> None:
        """Have the process before accept nobody any more, and hear from it until it has ended."""
        if self._predecessor is not None:
            await self._predecessor.leave()
            self._predecessor.follow(
                self._hear,
                lambda error: self._log.failure("the process before is not heard", error),
            )

    def _hear(self, told: Mapping[str, Any]) -> None:
        if self.gateway.before is not None:
            self.gateway.before.in_flight = told["in_flight"]
        shares.note_running(self.gateway, told["accounts"])

    def hand_on(self, successor: Successor) -> None:
        """Let ``successor``, which accepts connections, be the one that does."""
        self.notifier.replaced_by(successor.pid)
        # Its file is the other one's now.
        self._own = None
        for listener in (*self._public, *self._private):
            listener.close()
        self.gateway.draining = True
        for server in self._servers[1:]:
            # Whoever asks next, Prometheus above all, means the other one.
            server.hang_up()
        shares.leave(self.gateway)
        self._successor = successor
        successor.go()

    async def alone(self) -> Before | None:
        """Return the process before if it has not ended, nor does within a moment."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_alone.wait(), _A_MOMENT)
        return self.gateway.before

    async def outlast(self, seconds: float) -> None:
        """Wait until the process before has ended: nobody else looks after it. At most so many ``seconds``."""
        if self._predecessor is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._predecessor.gone.wait(), seconds)

    def _look_at_others(self) -> None:
        if self._successor is not None:
            self._successor.running(len(self.gateway.calls), shares.running(self.gateway))
        # The books have followed the process before to its end.
        if not self._is_alone.is_set() and not self._books.shared:
            self._is_alone.set()
            self.gateway.before = None
            shares.alone(self.gateway)
            self._log.info("the process before has ended")

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
        if self._successor is not None:
            await self._successor.close()

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
            self._look_at_others()
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
            error = contained(self._look_at, call, now)
            if error is None:
                continue
            self._log.failure(
                "a call failed when it was looked at", error, request_id=call.record.request_id
            )
            if not call.delivery.finished:
                # Else the connection is another's by now.
                call.delivery.abort()
            call.task.cancel()

    def _look_at(self, call: Call, now: float) -> None:
        call.sweep(now)
        record = call.progress(now)
        if record is not None:
            self._books.progress(record.row(self.gateway.clock()))


def _flat(named: Mapping[str, list[socket.socket]]) -> list[socket.socket]:
    return [one for found in named.values() for one in found]


def _address_of(one: socket.socket) -> str | tuple[str, int]:
    name = one.getsockname()
    return name if isinstance(name, str) else (name[0], name[1])
