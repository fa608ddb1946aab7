"""``splice upgrade``: the program as it is installed now takes the running daemon's place, and no client notices."""

from __future__ import annotations

import argparse

from proxy.cli.daemon import Daemon, DaemonError
from proxy.cli.output import complain, print_json
from proxy.config import ConfigError
from proxy.server.handover import PATIENCE


def run(args: argparse.Namespace) -> int:
    try:
        found = Daemon(args).post("upgrade", PATIENCE + 10)
    except (ConfigError, DaemonError) as error:
        complain(str(error))
        return 1
    if args.json:
        print_json(found)
    else:
        before, now = found["from"], found["to"]
        print(
            f"upgraded: {before['version']} (process {before['pid']}) -> {now['version']} (process {now['pid']})"
        )
    return 0
