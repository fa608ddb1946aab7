"""``splice audit``: proves that requests, daily sums and journal agree, and credits and keys with their record; exit 1 if they do not."""

from __future__ import annotations

import argparse

from proxy import money
from proxy.billing import audit
from proxy.billing.state import Unusable
from proxy.cli.ledger import database_of, usd
from proxy.cli.output import complain, print_json
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    try:
        found = audit.audit(database_of(args))
    except (ConfigError, Unusable) as error:
        if args.json:
            print_json({"ok": False, "faults": [str(error)]})
        else:
            complain(str(error))
        return 1
    if args.json:
        print_json(
            {
                "ok": not found.faults,
                "faults": found.faults,
                "requests": found.requests,
                "removed": found.removed,
                "journal": found.journal,
                "quarantined": found.quarantined,
                "price_usd": usd(found.price_micro),
                "cost_usd": usd(found.cost_micro),
                "credits_usd": money.usd(found.credits_micro),
                "keys": found.keys,
            }
        )
        return 1 if found.faults else 0
    for fault in found.faults:
        complain(fault)
    print(
        f"{found.requests} requests and {found.removed} removed ones: price {usd(found.price_micro)} USD, "
        f"cost {usd(found.cost_micro)} USD; {found.journal} records of the journal are all there; "
        f"{money.usd(found.credits_micro)} USD of credit, {found.keys} keys; "
        f"{found.quarantined} in quarantine"
        if not found.faults
        else f"{len(found.faults)} differences"
    )
    return 1 if found.faults else 0
