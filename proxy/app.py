"""The composition root: a configuration becomes objects, listeners, and a process that ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop

from proxy import __version__
from proxy import demo as demo_provider
from proxy.billing.keys import Keyring
from proxy.config import Config, key_hash, load, loads, new_key
from proxy.demo.greeting import greeting
from proxy.dialects.chat.encode import error_frame as chat_error_frame
from proxy.dialects.memory import Memory
from proxy.dialects.messages.encode import error_frame as messages_error_frame
from proxy.dialects.responses.encode import error_frame as responses_error_frame
from proxy.log import Bridge, Log, open_log
from proxy.notify import Notifier
from proxy.relay.call import Means
from proxy.relay.queue import Queue
from proxy.relay.record import Record
from proxy.relay.way import Ways
from proxy.routing.catalog import Catalog
from proxy.routing.limits import KeyLimits
from proxy.routing.pool import Pool
from proxy.server import routes
from proxy.server.admin import Admin
from proxy.server.drain import drain as finish
from proxy.server.gateway import Gateway
from proxy.server.guard import Limits, Server
from proxy.server.listeners import CannotListen, open_sockets, tls_context
from proxy.server.listeners import serve as accept
from proxy.tasks import spawn
from proxy.upstream.connections import Connections

SWEEP = 0.25
"""Seconds between looks at the running calls: a timeout or heartbeat is at most this late."""
_KEEPALIVE_SWEEPS = 20
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
    except CannotListen as error:
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
        log: Log,
        sweep: float,
        notifier: Notifier,
    ) -> None:
        self.gateway = gateway
        self.notifier = notifier
        self.addresses: tuple[str | tuple[str, int], ...] = ()
        """Where the public listeners really are: (host, port), or the path of a unix socket."""
        self._connections = connections
        self._log = log
        self._interval = sweep
        self._public: list[asyncio.Server] = []
        self._private: list[asyncio.Server] = []
        self._servers: list[Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, config: Config, environ: Mapping[str, str]) -> None:
        """Open every listener of ``config``, or none of them: raises CannotListen."""
        context = tls_context(config.server.tls)
        public = open_sockets(config.server.listen, environ, "server")
        try:
            private = open_sockets(config.admin.listen, environ, "admin")
        except CannotListen:
            for one in public:
                one.close()
            raise
        self.addresses = tuple(_address_of(one) for one in public)
        limits = Limits(body=config.server.max_body)
        server = Server(self.gateway.handle, limits=limits, trusted=config.server.trusted_proxies)
        admin = Server(Admin(self.gateway).handle, limits=limits)
        self._servers = [server, admin]
        self._public = await accept(server, public, context)
        self._private = await accept(admin, private, None)
        self._sweeper = spawn(
            self._sweep(), "sweep", lambda error: self._log.failure("the sweep died", error)
        )

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
        for listener in (*self._public, *self._private):
            listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            # Idle connections first: the shutdown would wait for their next request, and not answer it.
            server.pre_shutdown()
            await server.shutdown(timeout=1)
        self._connections.close()
        self.notifier.close()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            await asyncio.sleep(self._interval)
            now = loop.time()
            for call in list(self.gateway.calls):
                call.sweep(now)
            turn += 1
            if turn % _KEEPALIVE_SWEEPS == 0:
                self._connections.sweep(now)
                self.gateway.key_limits.sweep(now)
            # From here, so that a loop that hangs and a sweep that died are both noticed.
            self.notifier.beat(now, self._status())

    def _status(self) -> str:
        doing = "draining" if self.gateway.draining else "serving"
        return f"{doing}, {len(self.gateway.calls)} in flight"


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
    """Return a gateway of ``config`` that accepts requests. Raises CannotListen.

    ``tls`` is what upstreams are verified against; by default the system's certificates.
    """
    bridge = Bridge(log)
    root = logging.getLogger()
    root.handlers = [bridge]
    root.setLevel(logging.WARNING)
    connections = Connections(connect_timeout=config.timeouts.connect, tls=tls)
    loop = asyncio.get_running_loop()
    pool = Pool(config, loop.time())
    means = Means(
        loop=loop,
        clock=time.time,
        queue=Queue(),
        pool=pool,
        connections=connections,
        streaming=config.streaming,
        retry=config.retry,
        ways=Ways(f"splice/{__version__}".encode()),
        expose=config.server.expose,
        frame_error={
            "chat": chat_error_frame,
            "messages": messages_error_frame,
            "responses": responses_error_frame,
        },
        settle=partial(_settle, log),
    )
    gateway = Gateway(
        config=config,
        catalog=Catalog(config),
        keyring=Keyring(config.keys),
        pool=pool,
        key_limits=KeyLimits(config.models, config.limits.concurrency),
        counts_tokens=_counts_tokens(config),
        means=means,
        memory=Memory(),
        log=log,
        clock=time.time,
        now=loop.time,
        routes=routes.find,
        version=__version__,
    )
    running = Running(gateway, connections, log, sweep, Notifier(environ))
    await running.listen(config, environ)
    return running


def _counts_tokens(config: Config) -> bool:
    """Tell whether anybody has a limit by tokens."""
    return (
        any(account.tpm for account in config.accounts)
        or any(model.tpm for model in config.models)
        or any(key.tpm for key in config.keys)
    )


def _settle(log: Log, record: Record) -> None:
    """Write the log line of a request that has ended."""
    failed = record.error is not None and record.status >= 500
    log.write("warning" if failed else "info", "request", record.fields())


# The demo.


def demo(port: int | None) -> int:
    """Run a gateway with its own provider on ``port`` (None: the first free one from 8080); return the exit code."""
    with tempfile.TemporaryDirectory(prefix="splice-demo-") as directory:
        try:
            uvloop.run(_demo(port, directory))
        except CannotListen as error:
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
        config = loads(text, Path(directory) / "config.toml", os.environ)
        running = await start(config, log, os.environ)
        stack.push_async_callback(running.close)
        public, admin = (
            f"http://{listen}" for listen in (config.server.listen[0], config.admin.listen[0])
        )
        sys.stdout.write(greeting(public, admin, key))
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
