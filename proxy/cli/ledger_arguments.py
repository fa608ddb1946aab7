"""What the commands on the ledger take; apart from them, because importing those costs more than most commands do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path

_LAST = 20
_DIMENSIONS = ("day", "model", "key", "team", "account")


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands; ``command`` makes one of a name and what it does."""
    _usage(command("usage", "what was used, and what it costs"))
    backup = command("backup", "copy the ledger, also while the gateway runs")
    backup.add_argument("file", type=Path, metavar="FILE", help="a file that does not exist yet")
    restore = command("restore", "put a backup in the ledger's place")
    restore.add_argument("file", type=Path, metavar="FILE", help="what `splice backup` wrote")
    audit = command("audit", "prove that requests, daily sums and journal agree")
    audit.add_argument("--json", action="store_true", help="print JSON")


def _usage(usage: argparse.ArgumentParser) -> None:
    usage.add_argument("--since", type=_day, metavar="DAY", help="the first day, in UTC")
    usage.add_argument("--until", type=_day, metavar="DAY", help="the last day")
    for name in ("key", "team", "model", "account"):
        usage.add_argument(f"--{name}", metavar="NAME", help=f"of this {name} only")
    usage.add_argument(
        "--by",
        action="append",
        choices=_DIMENSIONS,
        help="a line for each; may be given several times",
    )
    form = usage.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--json", action="store_true", help="print JSON")


def requests(requests: argparse.ArgumentParser) -> None:
    """Add what chooses among the calls that have ended."""
    for name in ("key", "model", "account"):
        requests.add_argument(f"--{name}", metavar="NAME", help=f"of this {name} only")
    requests.add_argument("--status", type=int, metavar="CODE", help="with this HTTP status only")
    requests.add_argument("--error", metavar="TYPE", help="with this error_type only")
    requests.add_argument(
        "--last",
        type=_count,
        default=_LAST,
        metavar="N",
        help=f"at most so many; {_LAST} by default",
    )
    requests.add_argument("--json", action="store_true", help="print JSON")


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a day such as 2026-11-30"
        ) from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:9]) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 1 to 1000000")
    return int(text)
