"""``splice backup``: a copy of the ledger, whether or not the daemon runs."""

from __future__ import annotations

import argparse

from proxy.billing import database
from proxy.billing.state import Unusable
from proxy.cli.ledger import database_of
from proxy.cli.output import complain
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    try:
        database.copy(database_of(args), args.file)
        database.check(args.file)
    except (ConfigError, Unusable) as error:
        complain(str(error))
        return 1
    print(f"wrote {args.file}: {args.file.stat().st_size} bytes, checked")
    return 0
