"""``splice credits``: what is paid into the wallets of keys and teams."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.billing.state import Unusable
from proxy.cli.daemon import DaemonError
from proxy.cli.directory import ask, pages
from proxy.cli.keys import print_fields
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError

_HEAD = ("NUMBER", "AT", "USD", "REF", "NOTE")


def run(args: argparse.Namespace) -> int:
    try:
        match args.action:
            case "add":
                _add(args)
            case "history":
                _history(args)
            case _:
                found = ask(args, "GET", "credits/*", args.wallet)
                print_json(found) if args.json else print_fields(found)
    except (ConfigError, DaemonError, Unusable) as error:
        complain(str(error))
        return 1
    return 0


def _add(args: argparse.Namespace) -> None:
    body: dict[str, Any] = {"wallet": args.wallet, "amount_usd": args.usd}
    if args.note is not None:
        body["note"] = args.note
    made = ask(args, "POST", "credits", body=body, ref=args.ref)
    if args.json:
        print_json(made)
        return
    if made["booked"]:
        what = f"booked {made['amount_usd']} USD"
    else:
        what = f"the ref {made['ref']} was booked on {made['at']}, and nothing was added"
    print(f"{made['wallet']}: {what}; {made['paid_in_usd']} USD paid in, all in all")


def _history(args: argparse.Namespace) -> None:
    rows = list(pages(args, "credits", "before", wallet=args.wallet))
    if args.json:
        print_json(rows)
        return
    print_table(
        [
            (
                str(one["number"]),
                one["at"],
                one["amount_usd"],
                one["ref"] or "-",
                one["note"] or "-",
            )
            for one in rows
        ],
        head=_HEAD,
    )
