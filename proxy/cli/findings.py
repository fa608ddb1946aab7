"""What a look at an installation finds: how bad it is, and what to do about it. Decided here, looked at elsewhere."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

FEW_DESCRIPTORS = 4096
"""Two a stream: room for some 2,000, which is where a shell's 1,024 would fail first."""
TOO_FEW_DESCRIPTORS = 256
LITTLE_ROOM = 1 << 30
"""Bytes: as many as the journal may keep."""
NO_ROOM = 128 << 20
"""Two segments of the journal."""
WRONG_CLOCK = 5.0
"""Seconds: more than the way to a provider and the whole second of its Date explain."""
FALSE_CLOCK = 60.0
"""From here on deadlines of providers, days of budgets and certificates are misread."""


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``todo`` is empty where there is nothing to do."""

    what: str
    level: Level
    found: str
    todo: str = ""


def descriptors(limit: int, used: int | None, whose: str) -> Finding:
    """Judge the limit of file descriptors of the daemon or, where none runs, of the shell; -1 stands for none."""
    taken = "" if used is None else f", {used} in use"
    found = f"{whose} may have {'any number' if limit < 0 else limit}{taken}"
    level = Level.OK
    if 0 <= limit < FEW_DESCRIPTORS or (used is not None and 0 < limit * 0.8 < used):
        level = Level.FAIL if 0 <= limit < TOO_FEW_DESCRIPTORS else Level.WARN
    todo = (
        f"a stream takes two: set LimitNOFILE=65536, or `ulimit -n`, to {FEW_DESCRIPTORS} or more"
    )
    return Finding("file descriptors", level, found, "" if level is Level.OK else todo)


def clock(offsets: Sequence[float]) -> Finding:
    """Judge by how many seconds this clock is ahead of providers'; the one that agrees best counts."""
    if not offsets:
        return Finding("clock", Level.OK, "not compared: no provider told the time")
    offset = min(offsets, key=abs)
    if abs(offset) <= WRONG_CLOCK:
        return Finding("clock", Level.OK, f"within {WRONG_CLOCK:g} s of a provider's")
    level = Level.FAIL if abs(offset) > FALSE_CLOCK else Level.WARN
    way = "ahead of" if offset > 0 else "behind"
    found = f"{abs(offset):.0f} s {way} the providers'"
    return Finding("clock", level, found, "have it set: timedatectl set-ntp true")


def disk(free: int, where: str) -> Finding:
    found = f"{free / 2**30:.1f} GiB free at {where}"
    if free >= LITTLE_ROOM:
        return Finding("disk", Level.OK, found)
    level = Level.FAIL if free < NO_ROOM else Level.WARN
    return Finding("disk", level, found, "make room: without it new calls get a 503")


def directory(mode: int, owner: int, user: int, path: str) -> Finding:
    """Judge whose the state directory is; ``user`` is who asks."""
    what, found = "state directory", f"{path}, mode {stat.S_IMODE(mode):04o}"
    if stat.S_IMODE(mode) & 0o077:
        return Finding(what, Level.FAIL, found, f"keep others out: chmod 0700 {path}")
    if user not in (0, owner):
        todo = "run this as that user, or as root, to see what is inside"
        return Finding(what, Level.WARN, f"{found}, of user {owner}", todo)
    return Finding(what, Level.OK, found)


def config_file(mode: int, path: str) -> Finding:
    """Judge who may change the configuration; who may read the secrets in it is told when it is read."""
    what, found = "configuration file", f"{path}, mode {stat.S_IMODE(mode):04o}"
    if mode & stat.S_IWOTH:
        return Finding(what, Level.FAIL, found, f"anybody may change it: chmod 0640 {path}")
    return Finding(what, Level.OK, found)


def package(version: str, where: str, makers: Sequence[str]) -> Finding:
    """Judge whose ``proxy`` is imported; ``makers`` are the installed distributions that have a package of that name."""
    others = sorted(set(makers) - {"splice-gateway"})
    found = f"splice {version} from {where}"
    if not others:
        return Finding("package", Level.OK, found)
    todo = "one overwrites the other: install Splice into a venv of its own"
    return Finding("package", Level.FAIL, f"{found}, beside `proxy` of {', '.join(others)}", todo)


def extensions(missing: Sequence[str], versions: str, todo: str) -> Finding:
    if missing:
        return Finding("parsers", Level.FAIL, f"aiohttp's {' and '.join(missing)} in Python", todo)
    return Finding("parsers", Level.OK, versions)
