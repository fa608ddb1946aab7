"""``splice keys``: who may call, and what they may do."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.billing import options
from proxy.billing.state import Unusable
from proxy.cli.daemon import DaemonError
from proxy.cli.directory import ask, pages
from proxy.cli.output import complain, print_json, print_table, shown
from proxy.config import ConfigError

_HEAD = ("NAME", "KEY", "STATE", "TEAM", "MODELS", "BUDGET", "PREPAID", "EXPIRES")


def run(args: argparse.Namespace) -> int:
    try:
        match args.action:
            case "list":
                _list(args)
            case "create":
                _create(args)
            case "rotate":
                _rotate(args)
            case "show":
                _show(args, ask(args, "GET", "keys/*", args.name))
            case "update":
                given = chosen(args, options.KEY)
                _show(args, ask(args, "PATCH", "keys/*", args.name, body=given))
            case "disable":
                _disable(args)
            case action:
                _tell(args, ask(args, "POST", f"keys/*/{action}", args.name))
    except (ConfigError, DaemonError, Unusable) as error:
        complain(str(error))
        return 1
    return 0


def chosen(args: argparse.Namespace, names: Any) -> dict[str, Any]:
    """Return those of the options ``names`` that the line has, null for "none"."""
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def warn_of_credit(made: dict[str, Any]) -> None:
    """Warn of credit that bounds nothing."""
    if not made["prepaid"] and made["paid_in_usd"] != "0":
        complain(f"warning: {made['name']} is not prepaid, so its credit bounds nothing; --prepaid")


def _create(args: argparse.Namespace) -> None:
    body = {"name": args.name, **chosen(args, (*options.KEY, "credit_usd", "hash"))}
    made = ask(args, "POST", "keys", body=body)
    if args.json:
        print_json(made)
    elif made["key"] is None:
        print(f"{made['name']}: active, opened by the key with this hash")
    else:
        # Nothing else on this stream: KEY=$(splice keys create NAME).
        print(made["key"])
        complain(f"made {made['name']}; its key is shown this once")
    warn_of_credit(made)


def _rotate(args: argparse.Namespace) -> None:
    made = ask(args, "POST", "keys/*/rotate", args.name, body={"grace": args.grace})
    if args.json:
        print_json(made)
        return
    print(made["key"])
    old = made["rotated_out"]
    until = f"works until {old[-1]['until']}" if old else "has stopped working"
    complain(f"rotated {made['name']}; this key is shown this once, and the old one {until}")


def _disable(args: argparse.Namespace) -> None:
    query = {"now": "true"} if args.now else None
    made = ask(args, "POST", "keys/*/disable", args.name, query=query)
    _tell(args, made)
    if not args.json and (made.get("ended") or made.get("in_flight")):
        complain(f"{made['ended']} calls ended, {made['in_flight']} in flight")


def _tell(args: argparse.Namespace, made: dict[str, Any]) -> None:
    if args.json:
        print_json(made)
    else:
        print(f"{made['name']}: {made['state']}")


def _list(args: argparse.Namespace) -> None:
    rows = list(pages(args, "keys", "after", team=getattr(args, "team", None)))
    if args.json:
        print_json(rows)
    else:
        print_table(list(map(_row, rows)), head=_HEAD)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["name"],
        one["shown"] or "-",
        one["state"],
        one["team"] or "-",
        ",".join(one["models"]),
        budget(one),
        prepaid(one),
        one["expires"] or "-",
    )


def budget(one: dict[str, Any]) -> str:
    """A budget as a cell."""
    return f"{one['budget_usd']}/{one['budget_period']}" if one["budget_usd"] else "-"


def prepaid(one: dict[str, Any]) -> str:
    """What a wallet has been given, as a cell."""
    allowance = f" + {one['allowance_usd']}/month" if one["allowance_usd"] else ""
    return f"{one['paid_in_usd']}{allowance}" if one["prepaid"] else "-"


def _show(args: argparse.Namespace, one: dict[str, Any]) -> None:
    if args.json:
        print_json(one)
    else:
        print_fields(one)


def print_fields(one: dict[str, Any]) -> None:
    """Print a document of one level, a line for each field."""
    for name, value in one.items():
        match value:
            case None | []:
                told = "-"
            case bool():
                told = "yes" if value else "no"
            case [{"shown": _}, *_]:
                told = ", ".join(f"{old['shown']} until {old['until']}" for old in value)
            case list():
                told = ",".join(map(str, value))
            case _:
                told = str(value)
        print(f"{name}: {shown(told)}")
