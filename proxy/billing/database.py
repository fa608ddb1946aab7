"""The database file: made, checked, migrated and copied, by plain SQLite and before or beside the daemon."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from proxy.billing.state import Unusable

NAME = "ledger.db"
VERSION = 4
"""The schema that this version of Splice writes."""
_MIGRATIONS = ("schema.sql", "drawn.sql", "directory.sql", "objects.sql")
"""The n-th takes a database from schema n to n + 1; the first makes one."""
CACHE = 32 << 20
"""Bytes of pages that the writer keeps: ids are random, so each row touches pages all over the indexes."""
BUSY = 5.0
"""Seconds that a connection waits for another process's lock."""


def prepare(path: Path) -> None:
    """Make the database at ``path``, or bring it to this version's schema. Raises Unusable.

    One that was not closed in order is checked first. Before a migration it is copied beside itself.
    """
    try:
        _touch(path)
        with contextlib.closing(connect(path)) as database:
            _prepare(database, path)
    except sqlite3.DatabaseError as error:
        raise unusable(path, error) from error
    except OSError as error:
        raise Unusable(
            f"cannot open {path} ({error.strerror}), expected a database that this user may write; "
            "set [state] directory"
        ) from error


def unusable(path: Path, error: sqlite3.Error) -> Unusable:
    """Return what ``error`` says about the database at ``path``: that it is damaged, or what else is wrong."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    ):
        return _broken(path, str(error))
    return Unusable(
        f"cannot use {path} ({error}), expected a database that this process alone writes; "
        "end whoever else does, or make room"
    )


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection on which transactions are begun by name."""
    mode = "ro" if read_only else "rw"
    database = sqlite3.connect(
        f"{address(path)}?mode={mode}", uri=True, timeout=BUSY, isolation_level=None
    )
    if read_only:
        database.execute("PRAGMA query_only = ON")
    return database


def address(path: Path) -> str:
    """Return the URI of the database at ``path``, without its query."""
    return path.absolute().as_uri()


def copy(path: Path, to: Path) -> None:
    """Copy the database at ``path``, which may be in use, to the new file ``to``. Raises Unusable."""
    try:
        _touch(to, new=True)
    except FileExistsError:
        raise Unusable(f"found {to} already, expected no such file; name another") from None
    except OSError as error:
        raise Unusable(f"cannot write {to}: {error.strerror}; name another file") from error
    try:
        with (
            contextlib.closing(connect(path, read_only=True)) as source,
            contextlib.closing(connect(to)) as target,
        ):
            source.backup(target)
            # A copy is one file, whoever opens it next.
            target.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        to.unlink(missing_ok=True)
        raise Unusable(f"cannot copy {path} to {to}: {error}") from error


def check(path: Path) -> None:
    """Raise Unusable unless ``path`` is a whole ledger that this version can read."""
    try:
        with contextlib.closing(connect(path, read_only=True)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if not 1 <= version <= VERSION:
                raise _foreign(path, version)
            _quick_check(database, path)
    except sqlite3.Error as error:
        raise Unusable(f"found {path} to be no ledger ({error}), expected a backup") from error


def _touch(path: Path, *, new: bool = False) -> None:
    """Make an empty file that only its owner may read: what SQLite puts beside it gets the same mode."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_EXCL if new else 0)
    os.close(os.open(path, flags, 0o600))


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise _foreign(path, version)
    if version:
        (clean,) = database.execute("SELECT clean FROM standing").fetchone()
        if not clean:
            _quick_check(database, path)
        if version < VERSION:
            copy(path, _free(path, version))
    # Each time: a backup that was restored is in another mode.
    database.execute("PRAGMA journal_mode = WAL")
    for number, name in enumerate(_MIGRATIONS[version:], start=version + 1):
        script = _script(name)
        database.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version = {number};COMMIT")


def _script(name: str) -> str:
    # Not importlib.resources: it imports more when it is first used, and by then a command may have become another user.
    return Path(__file__).with_name(name).read_text()


def _free(path: Path, version: int) -> Path:
    """Return where a copy from before a migration goes."""
    number = 0
    while True:
        suffix = f".schema-{version}" + (f".{number}" if number else "")
        found = path.with_name(path.name + suffix)
        if not found.exists():
            return found
        number += 1


def _quick_check(database: sqlite3.Connection, path: Path) -> None:
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _broken(path, str(found))


def _broken(path: Path, found: str) -> Unusable:
    said = found.replace("\n", " ").removeprefix("*** in database main *** ")
    return Unusable(
        f"found {path} damaged ({said}), expected a whole database; "
        "restore the last backup, from which the journal is rolled forward: splice restore FILE"
    )


def _foreign(path: Path, version: int) -> Unusable:
    return Unusable(
        f"found {path} with schema {version}, expected 1 to {VERSION}; "
        "a later version of Splice made it: run that one, or restore an earlier backup"
    )
