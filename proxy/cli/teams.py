"""``splice teams``: wallets that keys share."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.billing import options
from proxy.billing.state import Unusable
from proxy.cli.daemon import DaemonError
from proxy.cli.directory import ask, pages
from proxy.cli.keys import budget, chosen, prepaid, print_fields, warn_of_credit
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    try:
        match args.action:
            case "list":
                _list(args)
            case "create":
                body = {"name": args.name, **chosen(args, (*options.TEAM, "credit_usd"))}
                made = ask(args, "POST", "teams", body=body)
                _show(args, made)
                warn_of_credit(made)
            case "update":
                given = chosen(args, options.TEAM)
                _show(args, ask(args, "PATCH", "teams/*", args.name, body=given))
            case _:
                _show(args, ask(args, "GET", "teams/*", args.name))
    except (ConfigError, DaemonError, Unusable) as error:
        complain(str(error))
        return 1
    return 0


def _list(args: argparse.Namespace) -> None:
    rows = list(pages(args, "teams", "after"))
    if args.json:
        print_json(rows)
    else:
        print_table(
            [(one["name"], budget(one), prepaid(one)) for one in rows],
            head=("NAME", "BUDGET", "PREPAID"),
        )


def _show(args: argparse.Namespace, one: dict[str, Any]) -> None:
    if args.json:
        print_json(one)
    else:
        print_fields(one)
