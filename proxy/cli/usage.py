"""``splice usage``: what was used and what it costs, by day, model, key, team or account."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.billing import reading
from proxy.billing.reading import Wanted
from proxy.billing.state import Unusable
from proxy.cli.ledger import ask, database_of, print_csv, usd
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    by = list(dict.fromkeys(args.by or ()))
    wanted = Wanted(
        since=args.since,
        until=args.until,
        key=args.key,
        team=args.team,
        model=args.model,
        account=args.account,
    )
    try:
        (rows,) = ask(database_of(args), reading.usage(wanted, by))
    except (ConfigError, Unusable) as error:
        complain(str(error))
        return 1
    told = [_told(row, by) for row in rows]
    names = [*by, *_NUMBERS]
    if args.json:
        print_json(told)
    elif args.csv:
        print_csv(names, told)
    else:
        print_table(
            [
                names,
                *(
                    [
                        str(one[name] or 0 if name in _NUMBERS else one[name] or "-")
                        for name in names
                    ]
                    for one in told
                ),
            ]
        )
    return 0


_NUMBERS = (
    "requests",
    "failed",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "cost_usd",
    "price_usd",
)


def _told(row: dict[str, Any], by: list[reading.By]) -> dict[str, Any]:
    """Return a line: what we pay is ``cost_usd``, what the keys pay ``price_usd``."""
    return {
        **{name: row[name] or None for name in by},
        "requests": row["requests"],
        "failed": row["failed"],
        "input_tokens": row["input_tokens"],
        "cache_read_tokens": row["cache_read_tokens"],
        "cache_write_tokens": row["cache_write_tokens"] + row["cache_write_1h_tokens"],
        "output_tokens": row["output_tokens"],
        "cost_usd": usd(row["cost_micro"]),
        "price_usd": usd(row["price_micro"]),
    }
