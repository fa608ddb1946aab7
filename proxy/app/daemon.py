"""The process that serves: from its configuration to its exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from proxy import __version__
from proxy.app.assembly import start
from proxy.app.predecessor import Predecessor
from proxy.app.running import Running
from proxy.app.succession import CannotUpgrade, fail
from proxy.app.upgrade import Upgrade
from proxy.billing.state import Unusable
from proxy.config import Config, ConfigError, load
from proxy.log import Log, open_log
from proxy.server.listeners import CannotListen


def serve(path: Path) -> int:
    """Run the daemon on the configuration at ``path`` until it is told to stop; return the exit code.

    Raises ConfigError if the file is not a configuration.
    """
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        fail(os.environ, str(error))
        raise
    log = open_log(config.logging.level, config.logging.format, os.environ, time.time)
    for warning in config.warnings:
        log.warning(warning)
    try:
        uvloop.run(_serve(config, log))
    except (CannotListen, CannotUpgrade, Unusable) as error:
        sys.stderr.write(f"splice: {error}\n")
        return 1
    finally:
        log.flush()
    return 0


async def _serve(config: Config, log: Log) -> None:
    stop = stop_signals(log.flush)
    async with AsyncExitStack() as stack:
        predecessor = await Predecessor.met(os.environ)
        if predecessor is not None:
            stack.push_async_callback(predecessor.close)
        running = await _started(config, log, predecessor)
        stack.push_async_callback(running.close)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.reload_soon)
        upgrade = Upgrade(running, log, os.environ, stop)
        running.gateway.upgrade = upgrade.ask
        settle_memory()
        running.notifier.ready()
        log.info("ready", version=__version__, listen=", ".join(map(str, config.server.listen)))
        await stop.wait()
        await upgrade.abandon()
        running.notifier.stopping()
        log.info("stopping", in_flight=len(running.gateway.calls))
        grace = running.gateway.config.server.grace_period
        await running.drain(grace)
        await running.outlast(grace)


async def _started(config: Config, log: Log, predecessor: Predecessor | None) -> Running:
    """Return a gateway that accepts requests, in the place of ``predecessor`` if there is one."""
    try:
        running = await start(config, log, os.environ, predecessor=predecessor)
    except (CannotListen, CannotUpgrade, ConfigError, Unusable) as error:
        # Now, when everything is closed again.
        fail(os.environ, str(error))
        raise
    await running.take_over()
    return running


def settle_memory() -> None:
    """Keep the collector away from what lives as long as the process, and from looking too often at the rest.

    An answered request leaves no cycles behind, so there is little to find: with the defaults, looking for it took eight per
    cent of a plain request's CPU. One whose client hung up does: its cancelled task holds the traceback that holds the task,
    and some thirty KiB with it. Such calls have lived long enough to be in the oldest generation, so that one is looked
    through every few times: with 20 in place of 2, the process grew by 8 MiB for every thousand streams half of which hung up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 2, 2)


def stop_signals(at_once: Callable[[], None]) -> asyncio.Event:
    """Return the event that SIGTERM or SIGINT sets; a second one calls ``at_once`` and ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = 0

    def asked() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            at_once()
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return stop
