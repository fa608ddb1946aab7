"""Takes values out of a parsed document, keeping account of faults, origins and unknown keys.

A fault never stops the reading: it is noted, a stand-in takes the value's place, and whoever
started the reading raises all of them at the end. Nothing read from a document with faults may be
used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from proxy.config.errors import KeyPath, Wrong, dotted, nearest
from proxy.config.model import Address, Setting, SystemdAddress, TcpAddress, UnixAddress
from proxy.config.secrets import Secret
from proxy.config.values import Kind, repr_toml, wanted, word

T = TypeVar("T")


class Document:
    """A configuration file being read: what it says, and everything noticed on the way."""

    def __init__(
        self,
        path: Path,
        lines: Mapping[KeyPath, int],
        values: Mapping[str, object],
        environ: Mapping[str, str],
    ) -> None:
        self.path = path
        self.environ = environ
        self.faults: list[tuple[int, str]] = []
        self.settings: list[Setting] = []
        self.literal_secrets: list[KeyPath] = []
        self._lines = lines
        self.root = Table(self, (), values)

    def line(self, path: KeyPath) -> int:
        """The line of the key, or of the nearest table around it that is written down."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def fault(self, path: KeyPath, text: str) -> None:
        line = self.line(path)
        place = f"{dotted(path)}: " if path else ""
        self.faults.append((line, f"{self.path}:{line}: {place}{text}"))

    def wrong(self, path: KeyPath, found: str, expected: str, hint: str = "") -> None:
        advice = f"; {hint}" if hint else ""
        self.fault(path, f"found {found}, expected {expected}{advice}")

    def set(self, path: KeyPath, value: object, origin: str | None = None) -> None:
        """Notes a value in effect; the origin is its line unless something else is said."""
        source = origin or f"{self.path}:{self.line(path)}"
        self.settings.append(Setting(dotted(path), value, source))

    def relative(self, path: str) -> Path:
        """A path of the file's own, which is relative to where the file is."""
        return self.path.parent / path


class Table:
    """One table of the document. Every key that is asked for counts as known."""

    def __init__(self, document: Document, path: KeyPath, values: Mapping[str, object]) -> None:
        self.document = document
        self.path = path
        self._values = values
        self._known: set[str] = set()
        self.default_origin = "default"
        """Where the value of an absent key comes from."""

    def at(self, key: str) -> KeyPath:
        return (*self.path, key)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def names(self) -> list[str]:
        """Every key of a table whose keys are names that the user chooses."""
        self._known.update(self._values)
        return list(self._values)

    def raw(self, key: str) -> object:
        """The value as TOML gave it; None when absent."""
        self._known.add(key)
        return self._values.get(key)

    def get(self, key: str, kind: Kind[T], default: T) -> T:
        """The value, or the default when it is absent or faulty."""
        value = self._parsed(key, kind)
        if value is not None:
            return value
        if key not in self._values:
            self.document.set(self.at(key), kind.show(default), self.default_origin)
        return default

    def optional(self, key: str, kind: Kind[T]) -> T | None:
        """The value; None when absent or faulty."""
        return self._parsed(key, kind)

    def required(self, key: str, kind: Kind[T]) -> T | None:
        """The value; None, with a fault noted, when it is absent or faulty."""
        if key not in self._values:
            self.document.wrong(self.at(key), "nothing", wanted(kind))
        return self._parsed(key, kind)

    def _parsed(self, key: str, kind: Kind[T]) -> T | None:
        raw = self.raw(key)
        if raw is None:
            return None
        try:
            value = kind.parse(raw)
        except Wrong as wrong:
            found = wrong.found or repr_toml(raw)
            self.document.wrong(self.at(key), found, wrong.expected, wrong.hint)
            return None
        self.document.set(self.at(key), kind.show(value))
        return value

    # Tables within.

    def table(self, key: str) -> Table:
        """The table below *key*; an empty one when it is absent or something else."""
        raw = self.raw(key)
        if raw is not None and not isinstance(raw, dict):
            self.document.wrong(self.at(key), repr_toml(raw), f"a table, [{dotted(self.at(key))}]")
        return Table(self.document, self.at(key), raw if isinstance(raw, dict) else {})

    def tables(self, key: str) -> list[Table]:
        """The array of tables below *key*."""
        raw = self.raw(key)
        path = self.at(key)
        if raw is None:
            return []
        if not isinstance(raw, list):
            self.document.wrong(path, "one table", f"a list of them, [[{dotted(path)}]]")
            return []
        tables = []
        for index, element in enumerate(raw):
            if isinstance(element, dict):
                tables.append(Table(self.document, (*path, index), element))
            else:
                self.document.wrong((*path, index), repr_toml(element), "a table")
        return tables

    def finish(self) -> None:
        """Notes the keys that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                self.document.fault(
                    self.at(key), f"found an unknown key; {nearest(key, self._known)}"
                )

    # Secrets and addresses, which need more than the value itself.

    def secret(self, key: str) -> Secret | None:
        """``{ env = … }``, ``{ file = … }``, ``{ credential = … }`` or a string; "" is none."""
        raw = self.raw(key)
        path = self.at(key)
        if raw is None or raw == "":
            self.document.set(path, None, "default" if raw is None else None)
            return None
        try:
            value, origin = self._resolve(raw, path)
            if not value.isascii() or not value.isprintable():
                raise Wrong("one line of printable ASCII", found="a secret with other characters")
        except Wrong as wrong:
            found = wrong.found or "a value that is no secret"
            self.document.wrong(path, found, wrong.expected, wrong.hint)
            return None
        line = f"{self.document.path}:{self.document.line(path)}"
        self.document.set(path, "***", f"{line} ({origin})" if origin else line)
        return Secret(value)

    def _resolve(self, raw: object, path: KeyPath) -> tuple[str, str]:
        """The secret's text, and where it came from ("" for the file itself)."""
        match raw:
            case str():
                self.document.literal_secrets.append(path)
                return raw, ""
            case {"env": str(name), **rest} if not rest:
                value = self.document.environ.get(name, "")
                if not value:
                    raise Wrong(
                        "a variable that is set", f"export {name}=…", f"env {name}, unset or empty"
                    )
                return value, f"env {name}"
            case {"file": str(name), **rest} if not rest:
                return _contents(self.document.relative(name)), f"file {name}"
            case {"credential": str(name), **rest} if not rest:
                directory = self.document.environ.get("CREDENTIALS_DIRECTORY", "")
                if not directory or "/" in name:
                    raise Wrong(
                        "one that systemd passed",
                        f"add LoadCredential={name}:/path to the unit",
                        f"credential {name}",
                    )
                return _contents(Path(directory, name)), f"credential {name}"
            case _:
                raise Wrong('{ env = "…" }, { file = "…" }, { credential = "…" } or a string')

    def addresses(
        self, key: str, default: tuple[Address, ...], at_least: int = 0
    ) -> tuple[Address, ...]:
        """Listen addresses: ``host:port``, ``[ipv6]:port``, ``unix:/path``, ``systemd:name``."""
        raw = self.raw(key)
        path = self.at(key)
        if raw is None:
            self.document.set(path, [str(address) for address in default], "default")
            return default
        if not isinstance(raw, list) or len(raw) < at_least:
            self.document.wrong(path, repr_toml(raw), 'a list such as ["127.0.0.1:8080"]')
            return default
        found: list[Address] = []
        for index, element in enumerate(raw):
            try:
                address = _address(element, self.document)
                if address in found:
                    raise Wrong("each address once")
                found.append(address)
            except Wrong as wrong:
                self.document.wrong((*path, index), repr_toml(element), wrong.expected, wrong.hint)
        self.document.set(path, [str(address) for address in found])
        return tuple(found)

    def file(self, key: str) -> Path | None:
        """A file that can be read; "" is none."""
        name = self.get(key, word("a path", r"[^\x00]*"), "")
        if not name:
            return None
        path = self.document.relative(name)
        if not (path.is_file() and os.access(path, os.R_OK)):
            self.document.wrong(self.at(key), str(path), "a file that can be read")
            return None
        return path


def _contents(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        # A ValueError: bytes that are no UTF-8, or a path with a NUL in it.
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise Wrong("a file that can be read", found=f"file {path} ({reason})") from None
    if not text:
        raise Wrong("a secret in it", found=f"file {path}, empty")
    return text


def _address(raw: object, document: Document) -> Address:
    expected = '"host:port", "[ipv6]:port", "unix:/path" or "systemd:name"'
    if not isinstance(raw, str):
        raise Wrong(expected)
    scheme, _, rest = raw.partition(":")
    if scheme == "unix" and rest:
        return UnixAddress(document.relative(rest))
    if scheme == "systemd" and rest:
        return SystemdAddress(rest)
    host, colon, port = raw.rpartition(":")
    if not colon and raw.isdecimal():
        raise Wrong(expected, f'write "127.0.0.1:{raw}", or "0.0.0.0:{raw}" for every interface')
    if not host:
        raise Wrong(expected, f'write "0.0.0.0:{port}" for every interface')
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise Wrong(expected, f'write "[{raw}]:PORT", or "[{host}]:{port}"')
    if not port.isdecimal() or int(port) > 65_535:
        raise Wrong(f"{expected}, with a port up to 65535")
    return TcpAddress(host[1:-1] if bracketed else host, int(port))
