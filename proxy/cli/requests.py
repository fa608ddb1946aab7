"""``splice requests``: the calls that have ended, the last ones last."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.billing import reading
from proxy.billing.reading import Wanted
from proxy.billing.state import Unusable
from proxy.cli.ledger import ask, database_of, usd
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    return _ended(args)


def _ended(args: argparse.Namespace) -> int:
    """Print what the ledger has."""
    wanted = Wanted(
        key=args.key, model=args.model, account=args.account, status=args.status, error=args.error
    )
    try:
        (rows,) = ask(database_of(args), reading.requests(wanted, args.last))
    except (ConfigError, Unusable) as error:
        complain(str(error))
        return 1
    rows.reverse()
    if args.json:
        print_json(rows)
    else:
        print_table([_HEAD, *map(_line, rows)])
    return 0


_HEAD = (
    "started",
    "request",
    "key",
    "model",
    "account",
    "status",
    "error",
    "in",
    "out",
    "seconds",
    "usd",
)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    sent = sum(
        row[name]
        for name in (
            "input_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
        )
    )
    return (
        row["started_at"][:19] + "Z",
        row["request_id"],
        row["key_name"],
        row["model"] or row["model_asked"] or "-",
        row["account"] or "-",
        str(row["status"]),
        row["error_type"] or "-",
        str(sent),
        str(row["output_tokens"]),
        f"{row['duration_us'] / 1e6:.2f}",
        usd(row["price_micro"]),
    )
