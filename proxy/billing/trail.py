"""What other processes have put into the journal, and what they still do while they are on their way out.

Rules that hold here:

1. Every record is read once, in the order of the segments and within them, from the ledger's position on.
2. While somebody lingers, a request that was only noted may still run there. When nobody does, it was cut short by a crash,
   and is settled by its last note.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from proxy.billing import state
from proxy.billing.entry import PROGRESS, REQUEST_ID, SETTLED, Row, decode, interrupted
from proxy.billing.journal import Journal, Line, Position, scan
from proxy.billing.ledger import Damaged
from proxy.billing.objects import Change, is_change, read_change

_BLOCK = 1 << 20
"""Bytes that are read at once of a segment that is still written: most of it are zeros yet."""


class Trail:
    """Everything that ``journal``'s other segments have from ``start`` on. ``live`` says whether more may come."""

    def __init__(self, directory: Path, journal: Journal, start: Position) -> None:
        self.live = True
        self.settled = 0
        """Requests that were read, ever."""
        self._faulty: list[Damaged] = []
        self._changes: list[Change] = []
        self._directory = directory
        self._journal = journal
        self._first = start.segment
        self._read_to = {start.segment: start.offset}
        self._running: dict[str, Row] = {}

    @property
    def missing(self) -> bool:
        """The journal does not reach back to where it should."""
        segments = self._journal.segments()
        return 0 < self._first < min(segments, default=0)

    def read(self) -> Iterator[Row]:
        """Yield the requests that were settled since the last look. Raises OSError."""
        # Asked first: what somebody wrote before he ended is there by now.
        live = state.lingers(self._directory)
        for number in self._journal.others(self._first):
            yield from self._rows(
                number, self._still_written(number) if live else self._whole(number)
            )
        self.live = live

    def beside(self) -> tuple[list[Damaged], list[Change]]:
        """Return what else ``read`` has come upon and has not been asked for yet: what is no record, and what befell objects."""
        faulty, self._faulty = self._faulty, []
        changes, self._changes = self._changes, []
        return faulty, changes

    def interrupted(self) -> list[Row]:
        """Return the requests that were running when the last of these processes ended. To be asked once, when none lives."""
        rows = [interrupted(row) for row in self._running.values()]
        self._running.clear()
        return rows

    def _rows(self, number: int, lines: Iterator[Line]) -> Iterator[Row]:
        running = self._running
        for line in lines:
            try:
                if line.record is None:
                    raise ValueError("a wrong checksum")
                if is_change(line.record):
                    self._changes.append(read_change(line.record))
                    continue
                kind, row = decode(line.record)
                if kind not in (SETTLED, PROGRESS):
                    raise ValueError(f"found a record of kind {kind!r}")
            except ValueError as error:
                reason = f"journal {number} before {line.after}: {error}"
                self._faulty.append(Damaged(reason, line.raw))
                continue
            request_id = str(row[REQUEST_ID])
            if kind == PROGRESS:
                running[request_id] = row
                continue
            running.pop(request_id, None)
            self.settled += 1
            yield row

    def _whole(self, number: int) -> Iterator[Line]:
        """Yield the lines of a segment that nobody writes any more."""
        used = self._read_to.get(number, 0)
        for line in scan(self._journal.read(number), used):
            used = line.after
            yield line
        self._read_to[number] = used
        self._journal.trim(number, used)

    def _still_written(self, number: int) -> Iterator[Line]:
        """Yield the lines that have come to a segment since the last look."""
        more = True
        while more:
            start = self._read_to.get(number, 0)
            data = self._journal.read(number, start, _BLOCK)
            lines = list(scan(data))
            if lines and lines[-1].record is None:
                # It may be half written.
                lines.pop()
            for line in lines:
                yield line._replace(after=start + line.after)
            if lines:
                self._read_to[number] = start + lines[-1].after
            more = bool(lines) and len(data) == _BLOCK
