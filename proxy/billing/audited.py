"""What the last audit found, kept in a file of the state directory: whoever audits is rarely the daemon, which tells it as metrics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from proxy.billing.audit import Audit

_NAME = "audit.json"
_LEAST = 1
"""Micro-USD that are told where something differs and no money does: 0 is for books without a fault."""


@dataclass(frozen=True, slots=True)
class Audited:
    """When the books were audited last, in seconds since 1970, and by how many micro-USD they were wrong."""

    at: float
    difference_micro: int


def note(directory: Path, found: Audit, wall: float) -> Audited:
    """Keep what an audit that ended at ``wall`` has found, and return it; who may not write there keeps nothing."""
    told = Audited(wall, max(found.difference_micro, _LEAST) if found.faults else 0)
    new = directory / f"{_NAME}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        owner = directory.stat()
        descriptor = os.open(new, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if os.geteuid() == 0:
                # The daemon, which is another user, reads it.
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(orjson.dumps({"at": told.at, "difference_micro": told.difference_micro}))
        new.replace(directory / _NAME)
    except OSError:
        new.unlink(missing_ok=True)
    return told


def last(directory: Path) -> Audited | None:
    """Return what the last audit found; None if there was none, or what is kept of it cannot be read."""
    try:
        kept = orjson.loads((directory / _NAME).read_bytes())
        return Audited(float(kept["at"]), int(kept["difference_micro"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
