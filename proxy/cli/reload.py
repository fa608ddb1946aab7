"""``splice reload``: the running daemon reads its configuration again."""

from __future__ import annotations

import argparse

from proxy.cli.daemon import Daemon, DaemonError
from proxy.cli.output import complain, print_json
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    try:
        found = Daemon(args).post("reload")
    except (ConfigError, DaemonError) as error:
        complain(str(error))
        return 1
    if args.json:
        print_json(found)
    elif found["changes"]:
        for change in found["changes"]:
            print(f"{change['key']}: {change['what']}")
    else:
        print("nothing has changed")
    return 0
