"""Runs ``splice`` and kills it at one step of a record's way to the disk: ``dying.py STEP COUNT serve …``.

A step is ``before`` or ``after`` and what is done, as in ``after:COMMIT``; it dies when that is done for the COUNTth time.
Segments are small and removed at once here, so that all of it happens within moments.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosqlite

from proxy.billing import books, journal
from proxy.cli import main

_SEGMENT = 32_768
_left = 0


def _die() -> None:
    global _left  # noqa: PLW0603 - one count for the process
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


def _around(when: str, done: Callable[..., Any]) -> Callable[..., Any]:
    def doing(*args: Any, **options: Any) -> Any:
        if when == "before":
            _die()
        result = done(*args, **options)
        if when == "after":
            _die()
        return result

    return doing


def _around_sql(when: str, wanted: str, done: Callable[..., Any]) -> Callable[..., Any]:
    async def doing(self: Any, sql: str, *args: Any) -> Any:
        meant = sql.lstrip().startswith(wanted)
        if meant and when == "before":
            _die()
        result = await done(self, sql, *args)
        if meant and when == "after":
            _die()
        return result

    return doing


def _half(descriptor: int, data: bytes, offset: int) -> int:
    global _left  # noqa: PLW0603 - one count for the process
    if _left <= 1:
        _write(descriptor, data[: len(data) // 2], offset)
        _left = 0
        _die()
    _left -= 1
    return _write(descriptor, data, offset)


_write = os.pwrite


def _arm(step: str) -> None:
    when, _, what = step.partition(":")
    match what:
        case "half a write":
            setattr(os, "pwrite", _half)  # noqa: B010 - a narrower type
        case "pwrite" | "fdatasync" | "ftruncate" | "posix_fallocate" | "link":
            setattr(os, what, _around(when, getattr(os, what)))
        case "unlink":
            Path.unlink = _around(when, Path.unlink)  # type: ignore[method-assign]
        case "INSERT INTO requests":
            aiosqlite.Connection.executemany = _around_sql(  # type: ignore[method-assign]
                when, what, aiosqlite.Connection.executemany
            )
        case _:
            aiosqlite.Connection.execute = _around_sql(  # type: ignore[method-assign]
                when, what, aiosqlite.Connection.execute
            )


if __name__ == "__main__":
    step, count, *line = sys.argv[1:]
    _left = int(count)
    _arm(step)
    (journal.Journal.__init__.__kwdefaults__ or {})["size"] = _SEGMENT
    journal._KEEP_BYTES = 1
    books._UPKEEP = 0.05
    sys.exit(main(line))
