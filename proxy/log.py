"""What the daemon says: one JSON object a line, or a line of text where a person watches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

import orjson

Level = Literal["debug", "info", "warning", "error"]

_ORDER: dict[str, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_PRIORITY: dict[str, bytes] = {"debug": b"<7>", "info": b"<6>", "warning": b"<4>", "error": b"<3>"}
_LONGEST = 256
"""Characters of a string in a long line: it came from outside, since nothing of ours is near it."""
_LONG = 1024
"""Bytes of a line in which it is worth looking for such strings: looking costs as much as writing the line."""

_DELAY = 0.02
"""Seconds for which lines are gathered, and lost if the process is killed in them."""
_MOST_GATHERED = 256
_STANDARD_ERROR = 2


class Log:
    """Writes lines to one file descriptor. Strings of a long line are cut; what is no text becomes question marks.

    Inside a running loop, lines are gathered and written together a few milliseconds later: a write for each request would
    cost as much as the request's own. ``flush`` writes what is gathered; errors are written at once.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        level: Level = "info",
        form: Literal["json", "text"] = "json",
        journal: bool = False,
        now: Callable[[], float],
    ) -> None:
        self._descriptor = descriptor
        self.level = level
        self._form = form
        self._journal = journal
        self._now = now
        self._lines: list[bytes] = []
        self._second = 0
        self._second_text = ""

    @property
    def level(self) -> Level:
        """The least that is written; it may be set."""
        return self._level

    @level.setter
    def level(self, level: Level) -> None:
        self._level = level
        self._threshold = _ORDER[level]

    def debug(self, message: str, **fields: Any) -> None:
        self.write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self.write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self.write("warning", message, fields)

    def failure(self, message: str, exception: BaseException | None = None, **fields: Any) -> None:
        """Write an error, with its traceback, at once."""
        if exception is not None:
            fields["exception"] = "".join(traceback.format_exception(exception))[-4000:]
        self.write("error", message, fields)
        self.flush()

    def write(self, level: Level, message: str, fields: dict[str, Any]) -> None:
        """Write one line."""
        if _ORDER[level] < self._threshold:
            return
        entry = {"ts": self._moment(), "level": level, "msg": message, **fields}
        render = _json if self._form == "json" else _text
        line = render(entry)
        if len(line) > _LONG:
            line = render(_cut(entry))
        if self._journal:
            line = _PRIORITY[level] + line
        self._lines.append(line)
        if len(self._lines) == 1:
            self._schedule()
        elif len(self._lines) >= _MOST_GATHERED:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered. A reader that is gone must not take the daemon with it."""
        if self._lines:
            gathered = b"\n".join(self._lines) + b"\n"
            self._lines.clear()
            with contextlib.suppress(OSError):
                while gathered:
                    gathered = gathered[os.write(self._descriptor, gathered) :]

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_later(_DELAY, self.flush)

    def _moment(self) -> str:
        now = self._now()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int((now - second) * 1000):03d}Z"


def open_log(
    level: Level,
    form: Literal["auto", "json", "text"],
    environ: Mapping[str, str],
    now: Callable[[], float],
) -> Log:
    """Return the log on standard error: JSON unless a terminal watches, with priorities where the journal reads them."""
    chosen = form if form != "auto" else ("text" if os.isatty(_STANDARD_ERROR) else "json")
    return Log(
        _STANDARD_ERROR, level=level, form=chosen, journal="JOURNAL_STREAM" in environ, now=now
    )


class Bridge(logging.Handler):
    """Hands what libraries log to ``log``."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR:
            self._log.failure(record.getMessage(), exception, logger=record.name)
        else:
            self._log.warning(record.getMessage(), logger=record.name)


def _cut(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value[:_LONGEST] if type(value) is str and name != "exception" else value
        for name, value in entry.items()
    }


def _json(entry: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(entry, default=str)
    except (TypeError, ValueError):
        # A header's bytes that are no UTF-8 arrive as surrogates.
        clean = {
            n: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v
            for n, v in entry.items()
        }
        return orjson.dumps(clean, default=str)


def _text(entry: dict[str, Any]) -> bytes:
    told = " ".join(
        f"{name}={value}"
        for name, value in entry.items()
        if name not in ("ts", "level", "msg", "exception")
    )
    line = _shown(f"{entry['ts'][11:23]} {entry['level']:<7} {entry['msg']} {told}".rstrip())
    if "exception" in entry:
        traceback_lines = str(entry["exception"]).rstrip().split("\n")
        line = "\n".join(
            [f"{line} exception={traceback_lines[0]}", *map(_shown, traceback_lines[1:])]
        )
    return line.encode("utf-8", "replace")


def _shown(text: str) -> str:
    """Return ``text`` as one line that does nothing to a terminal: a client may write lines of its own, or move the cursor."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
