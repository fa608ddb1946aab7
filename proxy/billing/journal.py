"""Records on their way to the ledger, in files that a killed process leaves whole.

Rules that hold here:

1. A record is one line, ``<crc32 of the rest, 8 hex digits> <record>`` and a newline, put down by one write: it is there or it is not.
2. A segment is written by one process and never added to afterwards: each start begins a new one. Numbers are taken by linking
   a file to them, so two processes, of which one is on its way out, never take the same one.
3. Room is allocated when a segment is made, so a full disk shows there and not in the middle of a record.
4. What is not a record at the end of a segment is a line that was being written, and is dropped; in the middle it is damage,
   and is kept for somebody to look at.

A segment that was not closed ends in the zeros of its allocated room.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from proxy.billing.state import Unusable

SEGMENT = 64 << 20
"""Bytes: some 150,000 requests."""
_SUFFIX = ".journal"
_SPARE = ".spare"
_spares = count()
_KEEP = 7 * 86_400.0
"""Seconds for which a segment outlives its last record, so that a backup can be rolled forward from it."""
_KEEP_BYTES = 1 << 30
"""… unless there are more of them than this."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records."""

    segment: int
    offset: int


class Line(NamedTuple):
    """One line of a segment, and where the next one begins. ``record`` is None if its checksum is wrong."""

    record: bytes | None
    raw: bytes
    after: int


def scan(data: bytes, start: int = 0) -> Iterator[Line]:
    """Yield the lines of a segment from ``start`` on; a torn last line is not one."""
    end = _end(data)
    # Whatever stands behind the last newline is torn.
    for raw in data[start:end].split(b"\n")[:-1]:
        start += len(raw) + 1
        record = raw[9:]
        whole = raw[:9] == b"%08x " % crc32(record)
        yield Line(record if whole else None, raw, start)


def _end(data: bytes) -> int:
    """Return where the zeros begin that a segment ends in."""
    # No record has a zero. Comparing tens of MiB of them is ten times as fast as stripping them.
    end = data.find(b"\0")
    if end < 0 or data[end:] == bytes(len(data) - end):
        return len(data) if end < 0 else end
    return len(data.rstrip(b"\0"))


class Journal:
    """The segments of one directory, and the one that is written. Every method but ``sync`` belongs to one thread.

    Nothing here raises once it is open: ``append`` says whether the record is kept, ``failure`` why the last one was not.
    """

    def __init__(self, directory: Path, *, size: int = SEGMENT) -> None:
        self.directory = directory
        self.failure: OSError | None = None
        self.failures = 0
        """How often something could not be written, synced, or begun again."""
        self._size = size
        self._descriptor = -1
        self._number = 0
        self._offset = 0
        self._dirty = False
        self._entries_changed = False
        """The directory has a name that a power loss would take."""
        self._own: set[int] = set()
        self._spare: tuple[Path, int] | None = None
        """A segment that has no number yet, and its descriptor."""
        self._spare_at = size // 2
        """From how many bytes on a segment the next one is made ahead of need."""
        self._retired: list[tuple[int, int]] = []
        """Descriptors of full segments that are still to be synced and closed, with the bytes that they hold."""

    def open(self, after: int = 0, *, alone: bool = True) -> None:
        """Begin a segment after the last one, and after number ``after``. Raises Unusable.

        ``alone``: no other process writes here, so what lies about unused belongs to nobody.
        """
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            for left in self.directory.glob(f"*{_SPARE}") if alone else ():
                left.unlink()
            self._number = after
            self._begin()
        except OSError as error:
            raise Unusable(
                f"cannot write {self.directory} ({error.strerror}), expected a directory with "
                f"{self._size >> 20} MiB free; make room or set [state] directory"
            ) from error

    @property
    def end(self) -> Position:
        """Where the next record goes."""
        return Position(self._number, self._offset)

    def segments(self) -> list[int]:
        """Return the numbers of the segments that there are, ascending."""
        names = [path.stem for path in self.directory.glob(f"*{_SUFFIX}")]
        return sorted(int(name) for name in names if name.isdecimal())

    def others(self, first: int) -> list[int]:
        """Return the numbers from ``first`` on of the segments that other processes made, ascending."""
        return [n for n in self.segments() if n >= first and n not in self._own]

    def path(self, number: int) -> Path:
        return self.directory / f"{number:010d}{_SUFFIX}"

    def read(self, number: int, start: int = 0, most: int = -1) -> bytes:
        """Return what is in a segment from ``start`` on; at most ``most`` bytes of it, unless that is below 0."""
        descriptor = os.open(self.path(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            file.seek(start)
            return file.read(most)

    # Writing.

    def append(self, record: bytes) -> bool:
        """Put ``record`` down; tell whether it is kept. It outlives the process at once, a power loss after a ``sync``."""
        line = b"%08x %b\n" % (crc32(record), record)
        size = len(line)
        try:
            if self._offset + size > self._size or self._descriptor < 0:
                self._turn()
            offset = self._offset
            written = os.pwrite(self._descriptor, line, offset)
            if written != size:
                os.ftruncate(self._descriptor, offset)
                raise OSError(0, f"wrote {written} of {size} bytes")
        except OSError as error:
            self.fail(error)
            return False
        self._offset = offset + size
        self._dirty = True
        return True

    def fail(self, error: OSError) -> None:
        """Give the segment up: the next record begins another one, if there is room for it."""
        self.failure = error
        self.failures += 1
        self._retire()

    def reopen(self) -> bool:
        """Begin another segment after a failure; tell whether that could be done."""
        try:
            self._turn()
        except OSError as error:
            self.failure = error
            self.failures += 1
        return self.failure is None

    def _turn(self) -> None:
        """Begin the next segment."""
        self._retire()
        self._begin()

    def _retire(self) -> None:
        if self._descriptor >= 0:
            self._retired.append((self._descriptor, self._offset))
            self._descriptor = -1

    def _begin(self) -> None:
        if self._spare is None:
            path = self._spare_path()
            self._spare = path, _allocate(path, self._size)
        path, descriptor = self._spare
        number = self._numbered(path)
        path.unlink()
        self._spare = None
        self._descriptor = descriptor
        self._number = number
        self._own.add(number)
        self._offset = 0
        self._spare_at = self._size // 2
        self._dirty = self._entries_changed = True
        self.failure = None

    def _numbered(self, path: Path) -> int:
        """Give the spare at ``path`` the next number that nobody has, and return that."""
        number = max([self._number, *self.segments()])
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):
                os.link(path, self.path(number))
                return number

    def _spare_path(self) -> Path:
        return self.directory / f"{os.getpid()}-{next(_spares)}{_SPARE}"

    # Syncing.

    @property
    def needs_sync(self) -> bool:
        return self._dirty or bool(self._retired)

    def begin_sync(self) -> Sync:
        """Return the work that makes everything written so far outlive a power loss; it may run in another thread."""
        wants_spare = (
            self._spare is None and self._descriptor >= 0 and self._offset > self._spare_at
        )
        sync = Sync(
            descriptor=self._descriptor,
            directory=self.directory if self._entries_changed else None,
            retired=self._retired,
            spare=self._spare_path() if wants_spare else None,
            size=self._size,
        )
        self._retired = []
        self._dirty = self._entries_changed = False
        return sync

    def end_sync(self, sync: Sync) -> None:
        """Note how ``sync`` went."""
        if sync.spare is not None and sync.made >= 0:
            self._drop_spare()
            self._spare = sync.spare, sync.made
        elif sync.spare is not None:
            self._spare_at = self._offset + self._size // 16
        if sync.error is not None:
            self.fail(sync.error)

    # The end.

    def close(self) -> None:
        """Sync and close everything, and give the unused room back. No sync may be under way."""
        self._drop_spare()
        self._retire()
        self.begin_sync().run()

    def _drop_spare(self) -> None:
        if self._spare is not None:
            path, descriptor = self._spare
            self._spare = None
            os.close(descriptor)
            path.unlink(missing_ok=True)

    def trim(self, number: int, used: int) -> None:
        """Give back the room that a killed process left allocated behind the ``used`` bytes of a segment."""
        with contextlib.suppress(OSError):
            if self.path(number).stat().st_size > used:
                os.truncate(self.path(number), used)

    def prune(self, before: int, wall: float) -> None:
        """Remove the segments before number ``before`` that nobody will roll a backup forward from."""
        kept = 0
        for number in reversed(self.segments()):
            if number >= before:
                continue
            path = self.path(number)
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                kept += status.st_size
                if not status.st_size or status.st_mtime < wall - _KEEP or kept > _KEEP_BYTES:
                    path.unlink()


class Sync:
    """What a thread does for the journal: sync, close what is full, allocate the next segment ahead of need."""

    def __init__(
        self,
        *,
        descriptor: int,
        directory: Path | None,
        retired: list[tuple[int, int]],
        spare: Path | None,
        size: int,
    ) -> None:
        self.spare = spare
        self.made = -1
        """The descriptor of the spare, if it could be made."""
        self.error: OSError | None = None
        """What kept something that was written from being safe."""
        self.seconds = 0.0
        """How long that took, without the allocation."""
        self._descriptor = descriptor
        self._directory = directory
        self._retired = retired
        self._size = size

    def run(self) -> None:
        """Do it; raises nothing, ``error`` tells."""
        began = time.monotonic()
        try:
            for descriptor, used in self._retired:
                try:
                    os.ftruncate(descriptor, used)
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
            if self._descriptor >= 0:
                os.fdatasync(self._descriptor)
            if self._directory is not None:
                _sync_directory(self._directory)
        except OSError as error:
            self.error = error
        self.seconds = time.monotonic() - began
        if self.spare is not None:
            # Without one the segment's end will find out whether there is room.
            with contextlib.suppress(OSError):
                self.made = _allocate(self.spare, self._size)


def _allocate(path: Path, size: int) -> int:
    """Make a file of ``size`` zeros that only its owner may read; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
