"""A gateway with a provider of its own, for whoever has no provider's key yet."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop

from proxy import demo as demo_provider
from proxy.app.assembly import start
from proxy.app.daemon import stop_signals
from proxy.billing.state import Unusable
from proxy.config import key_hash, loads, new_key
from proxy.demo.greeting import greeting
from proxy.log import open_log
from proxy.server.listeners import CannotListen

_PORT = 8080
_GRACE = 3.0


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
    stop = stop_signals(partial(shutil.rmtree, directory, ignore_errors=True))
    chosen = port if port is not None else _free_pair(_PORT)
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
        await running.drain(_GRACE)


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
