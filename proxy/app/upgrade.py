"""How a gateway is replaced by another process without a client noticing, as the old one goes about it.

1. The program is started anew, with every listening socket. If it fails, whatever it is, this process goes on as before.
2. It says that it is prepared; then it gets the ledger. What ends here from now on goes to this process' part of the journal,
   which the other one follows.
3. It says that it accepts connections. The service manager is told that it is the main process now.
4. This process accepts nobody any more, on no listener, and drains as it does before any other end.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Mapping
from contextlib import AsyncExitStack

from proxy import __version__
from proxy.app import shares
from proxy.app.running import Running
from proxy.app.succession import CannotUpgrade
from proxy.app.successor import Ready, Successor
from proxy.billing.state import Unusable
from proxy.log import Log
from proxy.server.handover import PATIENCE, NotUpgraded, Upgraded
from proxy.tasks import spawn


class Upgrade:
    """One gateway's; ``ask`` may be called by anybody who may administer it. ``stop`` is set once another process serves."""

    def __init__(
        self, running: Running, log: Log, environ: Mapping[str, str], stop: asyncio.Event
    ) -> None:
        self.succeeded = False
        self._running = running
        self._log = log
        self._environ = environ
        self._stop = stop
        self._task: asyncio.Task[None] | None = None

    async def ask(self) -> Upgraded:
        """Have another process serve; return which, or raise NotUpgraded, and then everything is as it was.

        Whoever asks may leave: what has begun goes on.
        """
        before = await self._running.alone()
        if before is not None:
            raise NotUpgraded(
                f"the last upgrade is not over: process {before.pid} still runs {before.in_flight} requests; "
                "try again when they have ended"
            )
        if self._task is not None or self._stop.is_set():
            raise NotUpgraded("an upgrade is under way, or the gateway is stopping")
        outcome: asyncio.Future[Upgraded] = asyncio.get_running_loop().create_future()
        self._task = spawn(self._go(outcome), "upgrade", self._broken)
        return await asyncio.shield(outcome)

    async def abandon(self) -> None:
        """End what is under way: the gateway stops."""
        if self._task is not None and not self.succeeded:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _go(self, outcome: asyncio.Future[Upgraded]) -> None:
        self._log.info("upgrading", version=__version__)
        try:
            async with asyncio.timeout(PATIENCE):
                successor, ready = await self._replaced()
        except (CannotUpgrade, TimeoutError, OSError, sqlite3.Error) as error:
            why = str(error) or f"the new process was not ready within {PATIENCE:g} s"
            self._log.failure("not upgraded, and everything is as it was", why=why)
            outcome.set_exception(NotUpgraded(why))
        else:
            self.succeeded = True
            self._running.hand_on(successor)
            self._log.info("upgraded", version=ready.version, process=ready.pid)
            outcome.set_result(Upgraded(__version__, os.getpid(), ready.version, ready.pid))
            self._stop.set()
        finally:
            self._task = None
            if not outcome.done():
                outcome.set_exception(NotUpgraded("it broke off; the log says why"))

    async def _replaced(self) -> tuple[Successor, Ready]:
        """Start the new process and give it the ledger; return it when it accepts connections."""
        running = self._running
        gateway = running.gateway
        async with running.unchanging():
            successor = await Successor.start(
                running.listeners(), gateway.config.state.directory, self._environ
            )
            # Cancelled as well: nobody may wait for this process any more.
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._go_on)
                undo.push_async_callback(successor.stop)
                await successor.prepared()
                await gateway.books.hand_over()
                shared = shares.told(gateway)
                gateway.means.wallets.share({}, gateway.clock())
                ready = await successor.ready(shared)
                undo.pop_all()
            return successor, ready

    async def _go_on(self) -> None:
        """Have the ledger and all credit again."""
        gateway = self._running.gateway
        gateway.means.wallets.alone()
        try:
            await gateway.books.take_back(PATIENCE)
        except Unusable as error:
            # What is settled is in the journal all the same; the next start books it.
            self._log.failure("the ledger could not be taken back: restart", error)

    def _broken(self, error: BaseException) -> None:
        self._log.failure("the upgrade broke off", error)
