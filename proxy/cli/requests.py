"""``splice requests``: the calls that have ended, the last ones last; those that run, and how to end one."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.billing import reading
from proxy.billing.reading import Wanted
from proxy.billing.state import Unusable
from proxy.cli.daemon import Daemon, DaemonError, segment
from proxy.cli.ledger import ask, database_of, usd
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError

_RUNNING = ("REQUEST", "AGE", "KEY", "MODEL", "ASKED", "PHASE", "TRIES", "TOKENS", "CLIENT'S ID")
_ENDED = (
    "STARTED",
    "REQUEST",
    "KEY",
    "MODEL",
    "ACCOUNT",
    "STATUS",
    "ERROR",
    "IN",
    "OUT",
    "SECONDS",
    "USD",
)


def run(args: argparse.Namespace) -> int:
    try:
        if args.action is not None:
            return _cancel(Daemon(args), args)
        return _running(Daemon(args), args) if args.in_flight else _ended(args)
    except (ConfigError, DaemonError, Unusable) as error:
        complain(str(error))
        return 1


# Those that run.


def _running(daemon: Daemon, args: argparse.Namespace) -> int:
    listed = daemon.get("requests?in_flight=true")
    if args.json:
        print_json(listed)
    else:
        print_table([_row(one) for one in listed["data"]], head=_RUNNING)
        if listed["has_more"]:
            complain(f"warning: these are the {len(listed['data'])} oldest; more run")
        before = daemon.get("status")["process_before"]
        if before:
            complain(
                f"warning: {before['requests_in_flight']} more run in process {before['pid']}, which drains after an upgrade"
            )
    return 0


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    asked = f"{one['account']}: {one['upstream_model']}" if one["account"] else "-"
    return (
        one["request_id"],
        f"{one['age_s']:.1f}s",
        one["key"] or "-",
        one["model"] or "-",
        asked,
        one["phase"],
        str(one["attempts"]),
        str(one["output_tokens"]),
        one["client_request_id"] or "-",
    )


def _cancel(daemon: Daemon, args: argparse.Namespace) -> int:
    found = daemon.post(f"requests/{segment(args.id)}/cancel")
    if args.json:
        print_json(found)
    else:
        print(f"cancelled {found['request_id']}")
    return 0


# Those that have ended.


def _ended(args: argparse.Namespace) -> int:
    wanted = Wanted(
        key=args.key, model=args.model, account=args.account, status=args.status, error=args.error
    )
    (rows,) = ask(database_of(args), reading.requests(wanted, args.last))
    rows.reverse()
    if args.json:
        print_json(rows)
    else:
        print_table(list(map(_line, rows)), head=_ENDED)
    return 0


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
