"""What is too old is removed: segments of the journal, and requests of which the daily sums stay, and what providers let go of."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.billing import database
from proxy.billing.journal import Journal
from proxy.billing.ledger import Ledger
from proxy.billing.objects import too_old
from proxy.log import Log

_LARGE_LOG = 256 << 20
"""Bytes of the database's own log from which somebody should look who has been reading for so long."""


class Upkeep:
    """``run`` from time to time; requests are looked at once a day. ``retain`` is how many seconds they are kept."""

    def __init__(
        self, directory: Path, journal: Journal, ledger: Ledger, log: Log, retain: float
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._ledger = ledger
        self._log = log
        self._retain = timedelta(seconds=retain)
        self._folded = ""

    async def run(self, wall: float) -> None:
        """Remove what is too old at ``wall``, seconds since 1970. What goes wrong is logged."""
        self._journal.prune(self._ledger.position.segment, wall)
        log = self._directory / f"{database.NAME}-wal"
        if log.exists() and log.stat().st_size > _LARGE_LOG:
            self._log.warning(
                "the database's log is large: somebody reads it for a long time",
                bytes=log.stat().st_size,
            )
        # Whole days, and never today's or yesterday's: what the journal may still repeat must be known.
        now = datetime.fromtimestamp(wall, UTC)
        until = (now - max(self._retain, timedelta(days=1))).strftime("%Y-%m-%d")
        if until == self._folded:
            return
        try:
            await self._ledger.write(too_old(wall))
            wrong = await self._ledger.fold(until)
        except sqlite3.Error as error:
            self._log.failure("old requests could not be removed", error)
            return
        self._folded = until
        for line in wrong:
            self._log.failure("the daily sums are wrong, and no request is removed", found=line)
