"""Finds the line of every key in a TOML document, which the standard parser does not tell.

The document has been parsed before: the scanner may take it for well-formed, and only has to keep
keys apart from what strings and comments hold.
"""

from __future__ import annotations

import re
import tomllib

from proxy.config.errors import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_INLINE_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line numbers, from 1, of every table, key and array element of a well-formed document."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.counts: dict[KeyPath, int] = {}
        """How many elements each array of tables has so far."""
        self._line = 1
        self._line_at = 0

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _header(self) -> KeyPath:
        """``[a.b]`` or ``[[a.b]]``: the path that the keys below it are under."""
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path: KeyPath = ()
        parts = self._key()
        for position, part in enumerate(parts):
            path = (*path, part)
            if is_array and position == len(parts) - 1:
                self._note(path)
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:
                # A header names an array of tables to mean its latest element.
                path = (*path, self.counts[path] - 1)
        self.at += 2 if is_array else 1
        self._note(path)
        return path

    def _pair(self, table: KeyPath) -> None:
        self._skip(_INLINE_BLANK)
        start = self.at
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path, start)
        self.at += 1  # the equals sign
        self._skip(_INLINE_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_INLINE_BLANK)
            bare = _BARE_KEY.match(self.text, self.at)
            if bare:
                parts.append(bare.group())
                self.at = bare.end()
            else:
                parts.append(self._quoted_key())
            self._skip(_INLINE_BLANK)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _quoted_key(self) -> str:
        start = self.at
        self._skip(_STRING)
        document = tomllib.loads(f"{self.text[start : self.at]} = 0")
        return next(iter(document))

    def _value(self, path: KeyPath) -> None:
        self._note(path)
        opening = self.text[self.at]
        if opening in "[{":
            closing = "]" if opening == "[" else "}"
            self.at += 1
            self._skip(_BLANK)
            index = 0
            while not self.text.startswith(closing, self.at):
                if opening == "[":
                    self._value((*path, index))
                    index += 1
                else:
                    self._pair(path)
                self._skip(_BLANK)
                if self.text.startswith(",", self.at):
                    self.at += 1
                    self._skip(_BLANK)
            self.at += 1
        elif opening in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _note(self, path: KeyPath, at: int | None = None) -> None:
        """Remembers the line of *path*; the first mention counts."""
        at = self.at if at is None else at
        if at > self._line_at:
            self._line += self.text.count("\n", self._line_at, at)
            self._line_at = at
        self.lines.setdefault(path, self._line)
