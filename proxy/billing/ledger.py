"""The database of what was settled: one connection that writes, a transaction at a time, and one that reads.

A batch, the sums of its days and the place that the journal is to be replayed from are one transaction, and a request that is
there already is left as it is: so whatever is replayed counts once.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite

from proxy.billing import reading
from proxy.billing.database import BUSY, CACHE, address
from proxy.billing.entry import COLUMNS, REQUEST_ID, Row
from proxy.billing.journal import Position
from proxy.billing.reading import SUMS, Query

READ_TIME = 1.0
"""Seconds that a reader may take: while it reads, the log of the database cannot be put back into it."""
_READ_STEPS = 10_000
"""Instructions of SQLite's machine between looks at the clock: under a millisecond."""
_AT_ONCE = 5_000
"""Requests that are removed in one transaction."""

# Not OR IGNORE, which would let a row that breaks a CHECK vanish without a word.
_INSERT = (
    f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608 - our own names
    "ON CONFLICT (request_id) DO NOTHING"
)
_SUM_UP = f"""
INSERT INTO usage_daily
SELECT
    date(started / 1000000, 'unixepoch') AS day, key_hash, key_name, coalesce(team, ''), wallet_id,
    CASE WHEN came THEN coalesce(model_asked, '') ELSE '' END,
    CASE WHEN came THEN coalesce(model, '') ELSE '' END,
    CASE WHEN came THEN coalesce(upstream_model, '') ELSE '' END,
    coalesce(provider, ''), coalesce(account, ''),
    {", ".join(SUMS.values())}
FROM (
    SELECT *, error_type IS NULL OR input_tokens + cache_read_tokens + cache_write_tokens
        + cache_write_1h_tokens + output_tokens > 0 AS came
    FROM requests WHERE number > ?
)
WHERE true GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608 - our own names
_QUARANTINE = "INSERT INTO quarantine (reason, record) VALUES (?, ?) ON CONFLICT DO NOTHING"
_POISON = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)
"""What a row raises that cannot be booked, and every row beside it in its batch."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """What cannot be booked: kept as bytes, for somebody to look at."""

    reason: str
    record: bytes


def damaged(row: Row, error: Exception) -> Damaged:
    """Return ``row`` as what ``error`` makes of it."""
    # A request's id is ours, so it is harmless; anything else may be what broke it.
    record = repr(row).encode("ascii", "backslashreplace")
    return Damaged(f"{row[REQUEST_ID]!a}: {error}"[:512], record[:65_536])


class ReadTooLong(Exception):
    """A reader took more than its time."""


class Ledger:
    """``position`` is where a replay begins, ``serial`` counts the rows that were given to it, ever."""

    def __init__(
        self,
        base: str,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        standing: sqlite3.Row,
    ) -> None:
        self._base = base
        self._released = False
        """Another process writes."""
        self.position = Position(standing["segment"], standing["byte"])
        self.serial: int = standing["serial"]
        self._writer = writer
        self._reader = reader
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._until = 0.0

    @classmethod
    async def open(cls, path: Path) -> Ledger:
        """Open the database at ``path``, which is prepared. It counts as not closed in order from here on."""
        base = address(path)
        async with AsyncExitStack() as stack:
            writer, standing = await _open_writer(base)
            stack.push_async_callback(writer.close)
            reader = await aiosqlite.connect(f"{base}?mode=ro", uri=True, isolation_level=None)
            stack.push_async_callback(reader.close)
            reader.row_factory = sqlite3.Row
            await reader.execute("PRAGMA query_only = ON")
            made = cls(base, writer, reader, standing)
            await reader.set_progress_handler(made._is_late, _READ_STEPS)
            stack.pop_all()
            return made

    # Writing.

    async def commit(
        self,
        rows: Sequence[Row],
        position: Position | None,
        aside: Sequence[Damaged] = (),
        beside: Sequence[Query] = (),
    ) -> list[Damaged]:
        """Book ``rows`` in one transaction; return what could not be booked and is quarantined instead.

        ``beside`` is run in the same transaction. ``position``: what comes before it in the journal is booked with this; None leaves it where it was. Raises sqlite3.Error,
        and then nothing is booked.
        """
        async with self._writing:
            try:
                await self._commit(rows, position, aside, beside)
            except _POISON:
                good, found = await self._sorted(rows)
                aside = [*aside, *found]
                await self._commit(good, position, aside, beside, given=len(rows))
        return list(aside)

    async def write(self, statements: Sequence[Query]) -> None:
        """Run ``statements`` in one transaction. Raises sqlite3.Error, and then nothing has changed."""
        async with self._writing:
            await self._begin()
            try:
                for one in statements:
                    await self._writer.execute(one.sql, one.parameters)
                await self._writer.execute("COMMIT")
            finally:
                await self._rollback()

    async def _commit(
        self,
        rows: Sequence[Row],
        position: Position | None,
        aside: Sequence[Damaged],
        beside: Sequence[Query],
        given: int | None = None,
    ) -> None:
        at = position or self.position
        serial = self.serial + (len(rows) if given is None else given)
        writer = self._writer
        await self._begin()
        try:
            last = (await _one(writer, "SELECT coalesce(max(number), 0) FROM requests"))[0]
            await writer.executemany(_INSERT, rows)
            await writer.execute(_SUM_UP, (last,))
            if aside:
                await writer.executemany(_QUARANTINE, [(it.reason, it.record) for it in aside])
            for one in beside:
                await writer.execute(one.sql, one.parameters)
            await writer.execute(
                "UPDATE standing SET segment = ?, byte = ?, serial = ?",
                (at.segment, at.offset, serial),
            )
            await writer.execute("COMMIT")
        except (sqlite3.Error, *_POISON):
            await self._rollback()
            raise
        self.position = at
        self.serial = serial

    async def _sorted(self, rows: Sequence[Row]) -> tuple[list[Row], list[Damaged]]:
        """Try ``rows`` one by one, and book none: return those that can be booked, and the others with their reasons."""
        good, bad = [], []
        await self._begin()
        try:
            for row in rows:
                try:
                    await self._writer.execute(_INSERT, row)
                except _POISON as error:
                    bad.append(damaged(row, error))
                else:
                    good.append(row)
        finally:
            await self._rollback()
        return good, bad

    async def _begin(self) -> None:
        if self._released:
            raise sqlite3.OperationalError("another process has taken the ledger over")
        # Whoever was cancelled in the middle of a transaction has left it open.
        await self._rollback()
        await self._writer.execute("BEGIN IMMEDIATE")

    async def _rollback(self) -> None:
        if self._writer.in_transaction:
            await self._writer.execute("ROLLBACK")

    async def fold(self, until: str) -> list[str]:
        """Remove the requests of the days before ``until``, of which the daily sums stay; return the days whose sums are wrong.

        If there are any, nothing is removed.
        """
        wrong: list[str] = []
        async with self._writing:
            if (await _one(self._writer, "SELECT folded_until FROM standing"))[0] < until:
                wrong = await self._compared(until)
        removed = _AT_ONCE
        while removed == _AT_ONCE and not wrong:
            async with self._writing:
                cursor = await self._writer.execute(
                    "DELETE FROM requests WHERE number IN (SELECT number FROM requests "
                    "WHERE started < strftime('%s', ?) * 1000000 LIMIT ?)",
                    (until, _AT_ONCE),
                )
            removed = cursor.rowcount
        return wrong

    async def _compared(self, until: str) -> list[str]:
        """Give the days before ``until`` up if their sums are right; return what is not. Reads every request there is."""
        await self._begin()
        try:
            wrong = reading.differences(
                await self._rows(reading.sums_of_requests(until)),
                await self._rows(reading.sums_of_days(until)),
            )
            if not wrong:
                await self._writer.execute("UPDATE standing SET folded_until = ?", (until,))
                await self._writer.execute("COMMIT")
        finally:
            await self._rollback()
        return wrong

    async def _rows(self, query: Query) -> list[Mapping[str, Any]]:
        rows = await self._writer.execute_fetchall(query.sql, query.parameters)
        return [dict(row) for row in rows]

    # Reading.

    async def read(
        self, *queries: Query, within: float = READ_TIME
    ) -> tuple[int, list[list[Mapping[str, Any]]]]:
        """Return ``serial`` and the rows of each query, all as of one moment. Raises ReadTooLong, sqlite3.Error."""
        reader = self._reader
        async with self._reading:
            self._until = time.monotonic() + within
            try:
                # Whoever left in the middle may have left a transaction: its thread had yet to begin it.
                await reader.rollback()
                await reader.execute("BEGIN")
                serial = (await _one(reader, "SELECT serial FROM standing"))[0]
                found: list[list[Mapping[str, Any]]] = [
                    [dict(row) for row in await reader.execute_fetchall(one.sql, one.parameters)]
                    for one in queries
                ]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    raise ReadTooLong from error
                raise
            finally:
                self._until = float("inf")
                if reader.in_transaction:
                    await reader.rollback()
        return serial, found

    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    # The end.

    async def release(self) -> None:
        """Write no more, in order, and read on: another process will write. Raises sqlite3.Error, and then nothing has changed."""
        async with self._writing:
            await self._rollback()
            await self._writer.execute("UPDATE standing SET clean = 1")
            self._released = True
            await self._writer.close()

    async def reopen(self) -> None:
        """Write again after a ``release``. Raises sqlite3.Error, and then nothing has changed."""
        async with self._writing:
            self._writer, standing = await _open_writer(self._base)
            self._released = False
            self.position = Position(standing["segment"], standing["byte"])
            self.serial = standing["serial"]

    async def close(self) -> None:
        """Close in order; what was not committed is in the journal."""
        await self._reader.close()
        if not self._released:
            async with self._writing:
                try:
                    await self._rollback()
                    await self._writer.execute("UPDATE standing SET clean = 1")
                finally:
                    await self._writer.close()


async def _open_writer(base: str) -> tuple[aiosqlite.Connection, sqlite3.Row]:
    """Return the connection that writes, and how things stand. The database counts as not closed in order from here on."""
    writer = await aiosqlite.connect(
        f"{base}?mode=rw", uri=True, timeout=BUSY, isolation_level=None
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(writer.close)
        writer.row_factory = sqlite3.Row
        await writer.execute("PRAGMA synchronous = FULL")
        await writer.execute(f"PRAGMA cache_size = -{CACHE >> 10}")
        await writer.execute("PRAGMA journal_size_limit = 67108864")
        await writer.execute("PRAGMA trusted_schema = OFF")
        standing = await _one(writer, "SELECT * FROM standing")
        await writer.execute("UPDATE standing SET clean = 0")
        stack.pop_all()
    return writer, standing


async def _one(connection: aiosqlite.Connection, sql: str) -> sqlite3.Row:
    """Return the row of a query that has exactly one."""
    (found,) = await connection.execute_fetchall(sql)
    return found
