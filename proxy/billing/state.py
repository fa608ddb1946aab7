"""The state directory: made, and held by one process at a time.

During an upgrade the process that is on its way out has let go of it, and still ends what it began: it lingers.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from pathlib import Path

_LOCK = "lock"
_LINGERING = "lingering"
_LOOK_AGAIN = 0.02
"""Seconds between looks whether the lock is free."""


class Unusable(Exception):
    """The state directory, or what is in it, cannot be used; the message says what was found and what to do."""


def prepare(directory: Path) -> None:
    """Make ``directory`` if there is none, for nobody but its owner. Raises Unusable."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(
            f"cannot make {directory} ({error.strerror}), expected a directory that this user may write; "
            "set [state] directory"
        ) from error


def lock(directory: Path) -> int:
    """Return the descriptor that holds ``directory`` until it is closed. Raises Unusable if another process holds it."""
    path = directory / _LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise Unusable(
            f"cannot open {path} ({error.strerror}), expected a directory that this user may write; "
            "set [state] directory"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise Unusable(
            f"found {directory} in use by process {owner or 'unknown'}, expected to be alone; "
            "stop that one, or set [state] directory"
        ) from error
    with contextlib.suppress(OSError):
        # Only for the message above: a full disk is no reason not to start.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


async def wait_for_lock(directory: Path, patience: float) -> int:
    """Return what ``lock`` does; wait up to ``patience`` seconds for the process that holds the directory. Raises Unusable."""
    until = time.monotonic() + patience
    while True:
        try:
            return lock(directory)
        except Unusable:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(_LOOK_AGAIN)


def linger(directory: Path) -> int:
    """Return the descriptor that says, until it is closed, that this process still writes its part of the journal.

    To be taken while ``lock`` is held, so that whoever holds that next knows of it. Raises OSError.
    """
    descriptor = _lingering(directory)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def lingers(directory: Path) -> bool:
    """Tell whether any process lingers. To be asked by the one that holds the lock. Raises OSError."""
    descriptor = _lingering(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lingering(directory: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(directory / _LINGERING, flags, 0o600)
