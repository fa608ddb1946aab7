"""What the daemon says: one JSON object a line, or a line of text where a person watches."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

Level = Literal["debug", "info", "warning", "error"]

_ORDER: dict[str, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_PRIORITY: dict[str, str] = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
_LONGEST = 256
"""Characters of a string that came from outside; a message of ours is never near it."""


class Log:
    """Writes lines to one stream. Strings are cut at 256 characters, and bytes that are no text become question marks."""

    def __init__(
        self,
        stream: TextIO,
        *,
        level: Level = "info",
        form: Literal["json", "text"] = "json",
        journal: bool = False,
        now: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._threshold = _ORDER[level]
        self._form = form
        self._journal = journal
        self._now = now

    def debug(self, message: str, **fields: Any) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write("warning", message, fields)

    def error(self, message: str, exception: BaseException | None = None, **fields: Any) -> None:
        if exception is not None:
            fields["exception"] = "".join(traceback.format_exception(exception))[-4000:]
        self._write("error", message, fields)

    def _write(self, level: Level, message: str, fields: dict[str, Any]) -> None:
        if _ORDER[level] < self._threshold:
            return
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = {name: _shown(value, name) for name, value in fields.items() if value is not None}
        if self._form == "json":
            line = orjson.dumps({"ts": moment, "level": level, "msg": message, **shown}, default=str).decode()
        else:
            told = " ".join(f"{name}={value}" for name, value in shown.items())
            line = f"{moment[11:23]} {level:<7} {message} {told}".rstrip()
        prefix = _PRIORITY[level] if self._journal else ""
        self._stream.write(f"{prefix}{line}\n")
        self._stream.flush()


def open_log(level: Level, form: Literal["auto", "json", "text"], environ: Mapping[str, str], now: Callable[[], float]) -> Log:
    """Return the log on standard error: JSON unless a terminal watches, with priorities where the journal reads them."""
    stream = sys.stderr
    chosen = form if form != "auto" else ("text" if stream.isatty() else "json")
    return Log(stream, level=level, form=chosen, journal="JOURNAL_STREAM" in environ, now=now)


class Bridge(logging.Handler):
    """Hands what libraries log to ``log``."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR:
            self._log.error(record.getMessage(), exception, logger=record.name)
        else:
            self._log.warning(record.getMessage(), logger=record.name)


def _shown(value: Any, name: str) -> Any:
    if isinstance(value, str) and name != "exception":
        value = value[:_LONGEST]
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    return value
