"""The books: what is settled is in the journal at once, in the ledger a moment later, and until then in memory.

Rules that hold here:

1. ``settle`` returns when the record outlives the process, and never raises: it is called in the middle of an answer.
2. A record stays in memory until the ledger has it, so whoever asks finds it in one or the other.
3. What the disk does not take is kept in memory and tried again; meanwhile ``open`` is False, and no new call is let in.
4. One process writes the ledger. One that hands it over goes on writing its own part of the journal, which the other one follows.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from proxy.billing import database, spent, state
from proxy.billing.entry import (
    ANSWER_ID,
    DURATION,
    KEY_HASH,
    PROGRESS,
    REQUEST_ID,
    SETTLED,
    STARTED,
    Row,
    cleaned,
    encode,
)
from proxy.billing.journal import Journal, Position
from proxy.billing.ledger import Damaged, Ledger, damaged
from proxy.billing.objects import Change, Objects, statements
from proxy.billing.reading import Query
from proxy.billing.spent import Spent
from proxy.billing.trail import Trail
from proxy.billing.upkeep import Upkeep
from proxy.billing.waiting import Waiting
from proxy.counts import BookMetrics
from proxy.log import Log
from proxy.money import window

SYNC = 0.025
"""Seconds between syncs of the journal: what a power loss may take."""
FLUSH = 0.25
GROUP = 1_000
"""Rows in a batch: at this many one is booked before its time."""
MAX_UNKEPT = 10_000
"""Records that are kept in memory alone while the journal cannot be written."""
MAX_PENDING = 100_000
"""Records that wait for the ledger, with the journal behind them."""
RETRY = 1.0
"""Seconds between tries of what failed; also what a client that was turned away is told, times five."""
RETRY_AFTER = 5
_REPLAYED = 10_000
"""Rows in a batch of a replay, when nobody waits for the loop."""
_UPKEEP = 60.0
_COUNTED = 60.0
"""Seconds that adding up what everybody has spent may take: it is one or two for a million daily sums."""


class Books:
    """Made by ``open``. Its owner runs ``keep_synced`` and ``keep_booked`` as tasks; after ``stop`` they end, then comes ``close``.

    ``open_for_calls`` says whether a new call may be let in. ``heard`` is called with each request that another process settles
    while this one runs.
    """

    def __init__(
        self,
        directory: Path,
        journal: Journal,
        ledger: Ledger,
        log: Log,
        *,
        lock: int,
        wall: Callable[[], float],
        retain: float,
    ) -> None:
        self.open_for_calls = True
        self.heard: Callable[[Row], None] = lambda _: None
        self.ledger = ledger
        self.objects = Objects(self._keep, self._rows)
        """What keys have made with providers."""
        self.metrics = BookMetrics()
        self._directory = directory
        self._journal = journal
        self._log = log
        self._lock = lock
        self._lingering = -1
        """The descriptor that says that the ledger was handed over and the journal is still written."""
        self._trail: Trail | None = None
        """Of whoever handed the ledger over and has not ended yet."""
        self._wall = wall
        self._batch: list[Row] = []
        """What is being booked right now."""
        self._pending: list[Row] = []
        self._damaged: list[Damaged] = []
        """What neither the journal nor the ledger can take."""
        self._unkept: list[Row] = []
        """What the journal did not take, as long as the ledger does not have it."""
        self._running: dict[str, Position] = {}
        """Where the last progress record of each running request is, the oldest first."""
        self._wake = asyncio.Event()
        self._stopping = False
        self._late = False
        """The ledger could not be written the last time."""
        self._upkeep = Upkeep(directory, journal, ledger, log, retain)
        self._booking = asyncio.Lock()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "journal")

    @classmethod
    async def open(
        cls,
        directory: Path,
        log: Log,
        *,
        wall: Callable[[], float],
        retain: float,
        patience: float = 0.0,
    ) -> Books:
        """Open the books in ``directory`` and book what the last process left in the journal. Raises Unusable.

        ``patience``: seconds to wait for a process that is about to hand them over.
        """
        state.prepare(directory)
        path = directory / database.NAME
        async with AsyncExitStack() as stack:
            lock = await state.wait_for_lock(directory, patience)
            stack.callback(os.close, lock)
            database.prepare(path)
            try:
                ledger = await Ledger.open(path)
            except sqlite3.Error as error:
                raise database.unusable(path, error) from error
            stack.push_async_callback(ledger.close)
            journal = Journal(directory / "journal")
            journal.open(after=ledger.position.segment, alone=not state.lingers(directory))
            stack.callback(journal.close)
            made = cls(directory, journal, ledger, log, lock=lock, wall=wall, retain=retain)
            await made._replay()
            stack.pop_all()
            return made

    # On the way of a call.

    def settle(self, row: Row) -> None:
        """Keep the row of a request that has ended, whatever happens."""
        self._running.pop(row[REQUEST_ID], None)  # type: ignore[arg-type]  # a request's id is a string
        try:
            record = encode(SETTLED, row)
        except TypeError:
            row = cleaned(row)
            try:
                record = encode(SETTLED, row)
            except TypeError as error:
                self._damaged.append(damaged(row, error))
                return
        if not self._journal.append(record):
            self._not_kept(row)
            return
        self._pending.append(row)
        if len(self._pending) == GROUP:
            self._wake.set()

    def progress(self, row: Row) -> None:
        """Note how far a running request is: what it is settled by if nothing more is heard of it."""
        try:
            record = encode(PROGRESS, row)
        except TypeError:
            try:
                record = encode(PROGRESS, cleaned(row))
            except TypeError:
                # It is in quarantine when it has ended; until then there is nothing to note.
                return
        request_id = row[REQUEST_ID]
        if isinstance(request_id, str):
            before = self._journal.end
            if self._journal.append(record):
                self._running.pop(request_id, None)
                self._running[request_id] = before

    def _keep(self, record: bytes) -> bool:
        """Put a record about an object into the journal; if it does not take it, no new call is let in."""
        kept = self._journal.append(record)
        if not kept:
            self._close()
        return kept

    def _close(self) -> None:
        if self.open_for_calls:
            self.open_for_calls = False
            self._log.failure("the journal cannot be written", self._journal.failure)

    def _not_kept(self, row: Row) -> None:
        """Keep in memory what the journal did not take, as far as it goes."""
        self._close()
        if len(self._unkept) < MAX_UNKEPT:
            self._unkept.append(row)
            self._pending.append(row)
        else:
            self._log.failure("a request was lost: too many wait for the disk", request=str(row))

    # Reading.

    def find(self, key_hash: str, wanted: str) -> Row | None:
        """Return the newest row of a key, by the request's id or the answer's, that the ledger does not have yet."""
        self._follow()
        for rows in (self._pending, self._batch):
            for row in reversed(rows):
                if row[KEY_HASH] == key_hash and wanted in (row[REQUEST_ID], row[ANSWER_ID]):
                    return row
        return None

    @property
    def behind(self) -> int:
        """How many settled requests the ledger does not have yet."""
        return len(self._batch) + len(self._pending)

    @property
    def behind_since(self) -> float | None:
        """When the request ended that has waited longest for the ledger, in seconds since 1970; None if none waits."""
        for row in (*self._batch[:1], *self._pending[:1]):
            return (int(row[STARTED] or 0) + int(row[DURATION] or 0)) / 1e6
        return None

    @property
    def journal_failures(self) -> int:
        """How often the journal could not be written, synced, or begun again."""
        return self._journal.failures

    @property
    def directory(self) -> Path:
        """Where the journal and the database are: a reload does not move them."""
        return self._directory

    def waiting(self) -> Waiting:
        """Return what the ledger does not have yet. Asked for before the ledger is.

        Nothing, once it was handed over: then only who writes it knows.
        """
        self._follow()
        if self.handed_over:
            return Waiting([], self.ledger.serial)
        return Waiting([*self._batch, *self._pending], self.ledger.serial)

    async def spent_by_wallets(self) -> dict[str, Spent]:
        """Return what each wallet has spent up to the moment of the return: nothing may be awaited before that is used.

        Raises ReadTooLong, sqlite3.Error.
        """
        while True:
            before = self.waiting()
            wall = self._wall()
            query = spent.wallets(wall)
            serial, (rows,) = await self.ledger.read(query, within=_COUNTED)
            after = self.waiting()
            # Else so much was settled and booked meanwhile that neither look has seen all of it, or a day has begun.
            if after.begins <= before.ends and window("day", self._wall()) == window("day", wall):
                break
        found = spent.by_wallet(rows)
        spent.add(found, before.since(serial), wall)
        spent.add(found, after.since(before.ends), wall)
        return found

    async def spent_by_accounts(self) -> dict[str, Spent]:
        """Return what the ledger knows to be spent with each account. Raises ReadTooLong, sqlite3.Error."""
        _, (rows,) = await self.ledger.read(spent.accounts(self._wall()), within=_COUNTED)
        return spent.by_account(rows)

    async def _rows(self, query: Query) -> list[Mapping[str, Any]]:
        self._follow()
        _, (rows,) = await self.ledger.read(query)
        return rows

    # Syncing.

    async def keep_synced(self) -> None:
        """Make the journal outlive a power loss, many times a second; try again what it did not take."""
        loop = asyncio.get_running_loop()
        tried = loop.time()
        while not self._stopping:
            await asyncio.sleep(SYNC)
            if self._journal.needs_sync:
                work = self._journal.begin_sync()
                await loop.run_in_executor(self._thread, work.run)
                self._journal.end_sync(work)
                self.metrics.syncs.observe((), work.seconds)
                if work.error is not None:
                    # Nobody knows which of its lines are on the disk: all that the ledger does not have are written again.
                    self._unkept = [*self._batch, *self._pending][-MAX_UNKEPT:]
                    self.objects.doubt()
                    self.open_for_calls = False
                    self._log.failure("the journal could not be synced", work.error)
            if not self.open_for_calls and loop.time() - tried >= RETRY:
                tried = loop.time()
                self._retry()

    def _retry(self) -> None:
        """Write what the journal did not take, and open the books again when nothing is left."""
        written = 0
        for row in self._unkept:
            if not self._journal.append(encode(SETTLED, row)):
                break
            written += 1
        del self._unkept[:written]
        if not self._unkept and self.objects.retry() and self._has_room():
            self.open_for_calls = True
            self._log.info("the journal and the ledger are written again")

    def _has_room(self) -> bool:
        """Tell whether a record could be kept, without one."""
        if len(self._pending) + len(self._batch) >= MAX_PENDING:
            return False
        return self._journal.failure is None or self._journal.reopen()

    # Booking.

    async def keep_booked(self) -> None:
        """Bring what is settled into the ledger; remove from time to time what is too old."""
        loop = asyncio.get_running_loop()
        upkeep = loop.time()
        while not self._stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), RETRY if self._late else FLUSH)
            self._wake.clear()
            if self.handed_over:
                continue
            self._follow()
            while await self.book() and len(self._pending) >= GROUP and not self._stopping:
                pass
            if loop.time() >= upkeep and not self._late:
                upkeep = loop.time() + _UPKEEP
                await self._upkeep.run(self._wall())

    async def book(self) -> bool:
        """Book one batch; tell whether the ledger took it. A batch that it did not take is the next one again."""
        async with self._booking:
            return self.handed_over or await self._book()

    async def _book(self) -> bool:
        if not self._batch:
            self._batch, self._pending = self._pending[:GROUP], self._pending[GROUP:]
        aside = self._damaged
        changes = self.objects.waiting
        if not self._batch and not aside and not changes:
            return not self._late
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            given = len(aside)
            found = await self.ledger.commit(
                self._batch, self._booked_up_to(), tuple(aside), statements(changes)
            )
        except sqlite3.Error as error:
            self._not_booked(error)
            return False
        self.metrics.flushes.observe((), loop.time() - began)
        self.metrics.booked(len(self._batch) + given, len(found))
        self.objects.booked(len(changes))
        if self._unkept:
            booked = {row[REQUEST_ID] for row in self._batch}
            self._unkept = [row for row in self._unkept if row[REQUEST_ID] not in booked]
        self._batch = []
        del aside[:given]
        self._late = False
        for one in found:
            self._log.failure("a request cannot be booked, and is in quarantine", reason=one.reason)
        return True

    def _booked_up_to(self) -> Position | None:
        """Return where a replay would have to begin once the batch is booked; None: not further than now."""
        if self._pending or self._trail is not None:
            return None
        return next(iter(self._running.values()), self._journal.end)

    def _not_booked(self, error: sqlite3.Error) -> None:
        if not self._late:
            self._log.failure("the ledger cannot be written, and is tried again", error)
        self._late = True
        if len(self._pending) >= MAX_PENDING:
            self.open_for_calls = False

    # The beginning and the end.

    async def _replay(self) -> None:
        """Book what the journal holds behind the ledger's position, and what was running when it ended."""
        trail = Trail(self._directory, self._journal, self.ledger.position)
        if trail.missing:
            self._log.warning(
                "the journal does not reach back to the ledger's last position: requests may be missing"
            )
        rows: list[Row] = []
        for row in trail.read():
            rows.append(row)
            if len(rows) == _REPLAYED:
                await self._book_replayed(rows, None, (), ())
                rows = []
        ended = trail.interrupted() if not trail.live else []
        end = self._journal.end if not trail.live else None
        aside, changes = trail.beside()
        await self._book_replayed([*rows, *ended], end, aside, changes)
        if trail.live:
            self._trail = trail
        if trail.settled or ended:
            self._log.info("replayed the journal", settled=trail.settled, interrupted=len(ended))

    async def _book_replayed(
        self,
        rows: list[Row],
        position: Position | None,
        faulty: Sequence[Damaged],
        changes: Sequence[Change],
    ) -> None:
        try:
            found = await self.ledger.commit(rows, position, faulty, statements(changes))
        except sqlite3.Error as error:
            raise state.Unusable(
                f"cannot bring the journal into {self._directory / database.NAME} ({error}), expected a database "
                "that can be written; make room, or end whoever holds it"
            ) from error
        self.metrics.booked(len(rows) + len(faulty), len(found))
        for one in found:
            self._log.failure("found damage, and put it into quarantine", reason=one.reason)

    def stop(self) -> None:
        """Let the tasks end."""
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Book what is left and close everything; the second time does nothing. The tasks have ended."""
        if self._closed:
            return
        self._closed = True
        self._follow()
        while await self.book() and self._pending and not self.handed_over:
            pass
        if self._batch:
            self._log.warning(
                "closing with requests that only the journal has; the next start books them",
                requests=len(self._batch) + len(self._pending),
            )
        self._thread.shutdown()
        self._journal.close()
        try:
            await self.ledger.close()
        except sqlite3.Error as error:
            self._log.failure("the ledger could not be closed in order", error)
        for descriptor in (self._lock, self._lingering):
            if descriptor >= 0:
                os.close(descriptor)

    # Another process.

    @property
    def handed_over(self) -> bool:
        """Another process writes the ledger, and this one only its own part of the journal."""
        return self._lingering >= 0

    @property
    def shared(self) -> bool:
        """Another process settles requests as well: one that the ledger was handed to, or that handed it over and still drains."""
        return self.handed_over or self._trail is not None

    async def hand_over(self) -> None:
        """Book what there is and let another process have the ledger, which waits for it in ``open``.

        From here on keys and credits cannot be changed here, and what is settled goes to the journal alone. Raises OSError,
        sqlite3.Error, and then nothing has changed.
        """
        async with self._booking:
            if self.handed_over:
                return
            while await self._book() and self._pending:
                pass
            lingering = state.linger(self._directory)
            try:
                await self.ledger.release()
            except sqlite3.Error:
                os.close(lingering)
                raise
            self._lingering = lingering
            # Whoever is next reads it from the ledger's position on.
            self._trail = None
            os.close(self._lock)
            self._lock = -1

    async def take_back(self, patience: float = 0.0) -> None:
        """Write the ledger again, because the process that was to do so has ended; wait ``patience`` seconds for that.

        Raises Unusable, and then the ledger stays handed over.
        """
        if not self.handed_over:
            return
        lock = await state.wait_for_lock(self._directory, patience)
        try:
            await self.ledger.reopen()
        except sqlite3.Error as error:
            os.close(lock)
            raise database.unusable(self._directory / database.NAME, error) from error
        os.close(self._lingering)
        self._lock, self._lingering = lock, -1
        # What the other one has settled, if it came so far.
        self._trail = Trail(self._directory, self._journal, self.ledger.position)
        self._wake.set()

    def _follow(self) -> None:
        """Have what another process has settled since the last look booked here."""
        trail = self._trail
        if trail is None:
            return
        try:
            found = list(trail.read())
        except OSError as error:
            self._log.failure("the other process's journal cannot be read", error)
            return
        if not trail.live:
            found += trail.interrupted()
            self._trail = None
        for row in found:
            self.heard(row)
        self._pending += found
        aside, changes = trail.beside()
        self._damaged += aside
        for change in changes:
            self.objects.note(change)
