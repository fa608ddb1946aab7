"""``splice statement``: what a key or a team was charged in a month, and what was paid in."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import Any

import orjson

from proxy.billing import database, options, stored
from proxy.billing.credit import Terms
from proxy.billing.options import Refused
from proxy.billing.reading import Query
from proxy.billing.state import Unusable
from proxy.billing.stored import KEY, TEAM
from proxy.cli.directory import as_owner, must_exist
from proxy.cli.ledger import ask, print_csv
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError, find, local
from proxy.money import usd

_COLUMNS = ("kind", "day", "key", "model", "requests", "tokens", "amount_usd", "note")


def run(args: argparse.Namespace) -> int:
    try:
        found = statement(args)
    except (ConfigError, Refused, Unusable) as error:
        complain(str(error))
        return 1
    rows = [{name: row.get(name, "") for name in _COLUMNS} for row in found["lines"]]
    if args.json:
        print_json(found)
    elif args.csv:
        print_csv(_COLUMNS, rows)
    else:
        print_table([[str(cell) for cell in row.values()] for row in rows], head=_COLUMNS)
    return 0


def statement(args: argparse.Namespace) -> dict[str, Any]:
    """Return the statement that a line asks for: what is charged is below 0, so that amounts add up from the opening to the closing."""
    settings = local(find(args.config, os.environ), os.environ)
    path = (settings.directory / database.NAME).absolute()
    wallet = args.wallet if args.wallet.startswith((TEAM, KEY)) else KEY + args.wallet
    start, end = _bounds(args.month)
    with as_owner(settings.directory):
        must_exist(path)
        (holder,) = ask(path, _holder(wallet))
        terms = _terms(holder)
        lines, months, before, during = ask(
            path,
            stored.lines_of(wallet, args.month),
            stored.months_of(wallet),
            stored.credits_between(wallet, 0, start),
            stored.credits_between(wallet, start, end),
        )
    if not (holder or months or before or during) and wallet.partition(":")[2] not in settings.keys:
        raise Unusable(
            f"found no {wallet.replace(':', ' ')}, expected one that is there; "
            "`splice keys list` and `splice teams list` show them"
        )
    found = [*map(_credit, during), *map(_charge, lines)]
    charged = sum(row["price_micro"] for row in lines)
    told = {"wallet": wallet, "month": args.month, "charged_usd": usd(charged)}
    if terms.prepaid:
        drawn_before = sum(row["drawn"] for row in months if row["month"] < args.month)
        drawn = sum(row["drawn"] for row in months if row["month"] == args.month)
        opening = _sum(before) - drawn_before
        closing = opening + _sum(during) - drawn
        found.insert(0, {"kind": "opening", "amount_usd": usd(opening)})
        if charged != drawn:
            found.append({"kind": "allowance", "amount_usd": usd(charged - drawn)})
        found.append({"kind": "closing", "amount_usd": usd(closing)})
        told |= {"opening_usd": usd(opening), "closing_usd": usd(closing)}
    return {**told, "lines": found}


def _holder(wallet: str) -> Query:
    table = "teams" if wallet.startswith(TEAM) else "keys"
    return Query(
        f"SELECT options FROM {table} WHERE name = :name",  # noqa: S608 - our own words
        {"name": wallet.partition(":")[2]},
    )


def _terms(holder: list[dict[str, Any]]) -> Terms:
    """Return the terms of who was found; of nobody they bind nothing."""
    given = orjson.loads(holder[0]["options"]) if holder else {}
    return options.terms_of({name: given[name] for name in options.TEAM if name in given})


def _sum(credits_: list[dict[str, Any]]) -> int:
    return sum(row["amount_micro"] for row in credits_)


def _bounds(month: str) -> tuple[int, int]:
    """Return the first moment of a month and of the next, in microseconds."""
    year, number = map(int, month.split("-"))
    after = (year + number // 12, number % 12 + 1)
    first, end = (datetime(y, m, 1, tzinfo=UTC) for y, m in ((year, number), after))
    return int(first.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000


def _credit(row: dict[str, Any]) -> dict[str, Any]:
    note = " ".join(part for part in (row["ref"], row["note"]) if part)
    return {
        "kind": "credit",
        "day": stored.moment(row["at"]).strftime("%Y-%m-%d"),
        "amount_usd": usd(row["amount_micro"]),
        "note": note,
    }


def _charge(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "charge",
        "key": row["key_name"],
        "model": row["model_asked"],
        "requests": row["requests"],
        "tokens": row["tokens"],
        "amount_usd": usd(-row["price_micro"]),
    }
