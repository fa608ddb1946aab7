"""A look at this machine: limits, rights, room, the database, and what is installed."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import packages_distributions, version
from pathlib import Path

import proxy
from proxy.billing import database
from proxy.billing.state import Unusable
from proxy.cli import extensions, findings
from proxy.cli.findings import Finding, Level

_COMPILED = ("aiohttp", "httptools", "orjson", "uvloop")


def installation() -> Iterator[Finding]:
    """Yield what is told by the installation alone."""
    makers = packages_distributions().get("proxy", [])
    yield findings.package(proxy.__version__, str(Path(proxy.__file__).parent), makers)
    versions = ", ".join(f"{name} {version(name)}" for name in _COMPILED) + ", all compiled"
    yield findings.extensions(extensions.missing(), versions, extensions.ADVICE)


def state(directory: Path) -> Iterator[Finding]:
    """Yield what is known of the daemon of a state directory, of the directory, its disk and its database."""
    yield _descriptors(directory)
    try:
        found = directory.stat()
    except FileNotFoundError:
        todo = "`splice serve` makes it; is this the daemon's configuration?"
        yield Finding("state directory", Level.WARN, f"there is no {directory}", todo)
        return
    except OSError as error:
        yield _unreadable("state directory", directory, error)
        return
    yield findings.directory(found.st_mode, found.st_uid, os.geteuid(), str(directory))
    yield findings.disk(shutil.disk_usage(directory).free, str(directory))
    yield _database(directory / database.NAME)


def _descriptors(directory: Path) -> Finding:
    pid = _daemon(directory)
    with suppress(OSError):
        if pid is not None:
            limit = _limit(Path(f"/proc/{pid}/limits").read_text())
            used = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            return findings.descriptors(limit, used, f"the daemon (process {pid})")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return findings.descriptors(soft, None, "a daemon started from here")


def _daemon(directory: Path) -> int | None:
    """Return the process that holds the directory, as its lock tells; one that has ended may have left its number."""
    with suppress(OSError, ValueError):
        pid = int((directory / "lock").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if {b"serve", b"demo"} & set(words):
            return pid
    return None


def _limit(text: str) -> int:
    """Return the soft limit that ``/proc/PID/limits`` tells; -1 for none."""
    (line,) = (line for line in text.splitlines() if line.startswith("Max open files"))
    soft = line.split()[3]
    return -1 if soft == "unlimited" else int(soft)


def _database(path: Path) -> Finding:
    if not os.access(path.parent, os.R_OK | os.X_OK):
        return _unreadable("database", path, PermissionError(13, "Permission denied"))
    if not path.exists():
        return Finding("database", Level.OK, f"none yet at {path}")
    try:
        database.check(path)
    except Unusable as error:
        return Finding("database", Level.FAIL, str(error))
    return Finding("database", Level.OK, f"{path} is whole, {path.stat().st_size / 2**20:.1f} MiB")


def _unreadable(what: str, path: Path, error: OSError) -> Finding:
    todo = "run this as the daemon's user, or as root"
    return Finding(what, Level.WARN, f"cannot look at {path} ({error.strerror})", todo)
