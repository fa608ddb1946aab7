"""``splice restore``: puts a backup in the ledger's place; the next start rolls it forward from the journal."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from proxy.billing import database, state
from proxy.billing.state import Unusable
from proxy.cli.output import complain
from proxy.config import ConfigError, find, load


def run(args: argparse.Namespace) -> int:
    try:
        directory = load(find(args.config, os.environ), os.environ).state.directory
        database.check(args.file)
        state.prepare(directory)
        lock = state.lock(directory)
        try:
            aside = _restore(args.file, directory / database.NAME)
        finally:
            os.close(lock)
    except (ConfigError, Unusable) as error:
        complain(str(error))
        return 1
    if aside is not None:
        print(f"kept what was there as {aside}")
    print(f"restored {args.file}; start the daemon to roll it forward from the journal")
    return 0


def _restore(backup: Path, path: Path) -> Path | None:
    """Put a copy of ``backup`` at ``path``; return where what was there is now."""
    made = path.with_name(f"{path.name}.restoring")
    made.unlink(missing_ok=True)
    database.copy(backup, made)
    aside = None
    if path.exists():
        aside = path.with_name(
            f"{path.name}.before-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        )
        for suffix in ("", "-wal", "-shm"):
            # The three belong together, whatever their state.
            if Path(f"{path}{suffix}").exists():
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    made.rename(path)
    return aside
