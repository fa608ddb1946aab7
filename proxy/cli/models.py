"""``splice models``: the names that can be called, where each leads, and what a million tokens cost."""

from __future__ import annotations

import argparse
import os
import time

from proxy.billing import pricelist
from proxy.billing.tariff import Tariff
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError, find, load
from proxy.routing.catalog import Catalog


def run(args: argparse.Namespace) -> int:
    try:
        config = load(find(args.config, os.environ), os.environ)
        tariff = Tariff(config, pricelist.read(config.state.directory))
    except ConfigError as error:
        complain(str(error))
        return 1
    catalog = Catalog(config)
    now = time.time()
    found = []
    for name in catalog.listed():
        route = catalog.resolve(name)
        for target in route.targets if route is not None else ():
            stated = tariff.stated(target.provider, target.model, name)
            price = stated.price_now(now)
            found.append(
                {
                    "model": name,
                    "target": f"{target.provider}/{target.model}",
                    "source": stated.price_source,
                    "input": None if price is None else price.rates.told("input"),
                    "output": None if price is None else price.rates.told("output"),
                }
            )
    if args.json:
        print_json(found)
    elif found:
        rows = [
            [str(value) if value is not None else "unpriced" for value in one.values()]
            for one in found
        ]
        print_table([list(found[0]), *rows])
    return 0
