"""``splice prices``: what a model costs and what a key pays for it, who says so, and who else may."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from proxy.billing import pricelist
from proxy.billing.imported import converted
from proxy.billing.prices import Price, Rates
from proxy.billing.tariff import Stated, Tariff
from proxy.cli.output import complain, print_json, print_table
from proxy.config import Config, ConfigError, find, load
from proxy.routing.catalog import Catalog

_RATES = tuple(one.name for one in fields(Rates) if one.name != "unit")
_BY_THE_THOUSAND = {"search": "searches_kcount", "request": "requests_kcount"}
"""Their names in a price; everything else is for a million tokens."""


def run(args: argparse.Namespace) -> int:
    try:
        config = load(find(args.config, os.environ), os.environ)
        if args.action == "import":
            return _import(Path(args.file), config.state.directory)
        listed = pricelist.read(config.state.directory)
    except ConfigError as error:
        complain(str(error))
        return 1
    return _show(args, config, listed)


def _import(path: Path, state: Path) -> int:
    """Put the list at ``path`` before the bundled one."""
    try:
        found = converted(orjson.loads(path.read_bytes()), path.name, datetime.now(UTC).date())
    except OSError as error:
        complain(f"found no file {path} to read ({error.strerror}), expected a list of prices")
        return 1
    except ValueError as error:
        complain(f"{path}: {error}")
        return 1
    out = state / pricelist.IMPORTED
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = out.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(found))
        owner = state.stat()
        if os.geteuid() == 0:
            # Made by root, it is to be read by the daemon, whose directory it is.
            os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.replace(out)
    except OSError as error:
        complain(f"cannot write {out}: {error.strerror}")
        return 1
    models = sum(len(provider["models"]) for provider in found["providers"].values())
    print(
        f"{out}: {models} models of {len(found['providers'])} providers; they count from the next start"
    )
    return 0


def _show(args: argparse.Namespace, config: Config, listed: pricelist.PriceList) -> int:
    tariff = Tariff(config, listed)
    route = Catalog(config).resolve(args.model)
    if route is not None:
        asked = [(target.provider, target.model, route.name) for target in route.targets]
    else:
        # Worth knowing before there is an account, too.
        provider, _, model = args.model.partition("/")
        asked = [(provider, model, args.model)] if listed.find(provider, model) else []
    if not asked:
        complain(
            f"found no model {args.model!r}, expected a name of yours or PROVIDER/MODEL: see splice models"
        )
        return 1
    found = [
        (f"{provider}/{model}", tariff.stated(provider, model, name))
        for provider, model, name in asked
    ]
    if args.json:
        print_json(
            {
                "model": args.model,
                "catalog": {"source": listed.source, "date": listed.date.isoformat()},
                "targets": [_document(target, stated) for target, stated in found],
            }
        )
    else:
        _print(found)
    return 0


def _print(found: Sequence[tuple[str, Stated]]) -> None:
    """One line for each price: whose it is, when it holds, and the rates that anybody charges."""
    lines = [line for target, stated in found for line in _lines(target, stated)]
    shown = list(dict.fromkeys(name for _, rates in lines for name in rates))
    heads = ["target", "", "source", "when", *shown]
    rows = [[*cells, *(rates.get(name, "") for name in shown)] for cells, rates in lines]
    print_table([heads, *rows])


def _lines(target: str, stated: Stated) -> Iterator[tuple[list[str], dict[str, str]]]:
    if not stated.is_known:
        yield [target, "cost, price", "none", "unpriced"], {}
        return
    if stated.price is stated.cost:
        columns = [("cost, price", stated.cost_source, stated.cost)]
    else:
        columns = [
            ("cost", stated.cost_source, stated.cost),
            ("price", stated.price_source, stated.price),
        ]
    for what, source, prices in columns:
        for row in prices:
            for when, rates in _variants(row):
                yield [target, what, source, when], _amounts(rates)


def _variants(row: Price, when: str = "") -> Iterator[tuple[str, Rates]]:
    """Yield the rates of a row and when they are charged."""
    if row.since is not None:
        when = f"from {row.since:%Y-%m-%d}"
    if row.hours is not None:
        when = f"{when} {'-'.join(_clock(row))} UTC".lstrip()
    yield when or "always", row.rates
    for above, rates in reversed(row.tiers):
        yield f"{when} above {above} tokens".lstrip(), rates
    for name, service in row.services.items():
        yield from _variants(service, f"{when} {name}".lstrip())


def _document(target: str, stated: Stated) -> dict[str, Any]:
    return {
        "target": target,
        "cost_source": stated.cost_source,
        "price_source": stated.price_source,
        "cost": [_table(row) for row in stated.cost],
        "price": [_table(row) for row in stated.price],
    }


def _table(row: Price) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if row.since is not None:
        table["from"] = row.since.isoformat().replace("+00:00", "Z")
    if row.hours is not None:
        table["hours"] = _clock(row)
    table |= _amounts(row.rates)
    if row.tiers:
        table["tiers"] = [
            {"above": above, **_amounts(rates)} for above, rates in reversed(row.tiers)
        ]
    if row.services:
        table["service_tiers"] = {name: _table(one) for name, one in row.services.items()}
    return table


def _clock(row: Price) -> list[str]:
    return [f"{minutes // 60:02d}:{minutes % 60:02d}" for minutes in row.hours or ()]


def _amounts(rates: Rates) -> dict[str, str]:
    """Return the rates in USD; searches and requests where they are charged, audio where it is not charged as text."""
    told = {}
    for name in _RATES:
        amount: int = getattr(rates, name)
        plain: int = getattr(rates, name.removeprefix("audio_"))
        if name in _BY_THE_THOUSAND and not amount:
            continue
        if name.startswith("audio_") and amount == plain:
            continue
        told[_BY_THE_THOUSAND.get(name, name)] = rates.told(name)
    return told
