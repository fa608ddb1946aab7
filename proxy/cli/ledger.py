"""How commands reach the ledger: read-only, whether or not the daemon runs."""

from __future__ import annotations

import argparse
import csv
import os
import re
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from proxy.billing import database
from proxy.billing.database import connect
from proxy.billing.reading import Query
from proxy.billing.state import Unusable
from proxy.config import find, load


def database_of(args: argparse.Namespace) -> Path:
    """Return where the ledger of the configuration is. Raises ConfigError, Unusable."""
    config = load(find(args.config, os.environ), os.environ)
    path = (config.state.directory / database.NAME).absolute()
    if not path.exists():
        raise Unusable(
            f"found no ledger at {path}, expected one that `splice serve` has made; "
            "is this its configuration, and may this user read the directory?"
        )
    return path


def ask(path: Path, *queries: Query) -> list[list[dict[str, Any]]]:
    """Return the rows of each query, all as of one moment. Raises Unusable."""
    try:
        with closing(connect(path, read_only=True)) as opened:
            opened.row_factory = sqlite3.Row
            opened.execute("BEGIN")
            return [
                [dict(row) for row in opened.execute(one.sql, one.parameters)] for one in queries
            ]
    except sqlite3.Error as error:
        raise database.unusable(path, error) from error


def usd(micro: int) -> str:
    """Return an amount in USD, exactly."""
    whole, rest = divmod(micro, 1_000_000)
    return f"{whole}.{rest:06d}"


def print_csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows`` for a spreadsheet: RFC 4180, with the names of the columns first."""
    writer = csv.writer(sys.stdout)
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)


_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _cell(value: object) -> object:
    """Return ``value`` as a spreadsheet shall show it: one reads a text that begins like a formula as one, and a note may be anybody's."""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
