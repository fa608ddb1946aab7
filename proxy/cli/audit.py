"""``splice audit``: proves that requests, daily sums and journal agree, and credits and keys with their record; exit 1 if they do not."""

from __future__ import annotations

import argparse
import time

from proxy import money
from proxy.billing import audit, audited
from proxy.billing.state import Unusable
from proxy.cli.ledger import database_of, usd
from proxy.cli.output import complain, print_json
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    try:
        path = database_of(args)
        found = audit.audit(path)
    except (ConfigError, Unusable) as error:
        if args.json:
            print_json({"ok": False, "faults": [str(error)]})
        else:
            complain(str(error))
        return 1
    audited.note(path.parent, found, time.time())
    if args.json:
        print_json(found.told())
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
