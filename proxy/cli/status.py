"""``splice status``: how the daemon is, on one screen."""

from __future__ import annotations

import argparse

from proxy.cli.daemon import Daemon, DaemonError
from proxy.cli.output import complain, print_json, span
from proxy.config import ConfigError


def run(args: argparse.Namespace) -> int:
    try:
        found = Daemon(args).get("status")
    except (ConfigError, DaemonError) as error:
        complain(str(error))
        return 1
    if args.json:
        print_json(found)
    else:
        print(f"splice {found['version']}: {found['state']}, up {span(found['uptime_s'])}")
        print(f"  accounts: {found['accounts_available']}/{found['accounts']} available")
        print(f"  in flight: {found['requests_in_flight']}, {found['requests_queued']} queued")
        if found["process_before"]:
            before = found["process_before"]
            print(
                f"  upgrade: process {before['pid']} drains, {before['requests_in_flight']} in flight there"
            )
        closed = "" if found["ledger_takes_calls"] else "; it cannot write, and no call is let in"
        print(f"  ledger: {found['ledger_behind']} requests behind{closed}")
        failed = "; the last reload failed" if found["last_reload_failed"] else ""
        print(f"  configuration: read at {found['configuration_read_at']}{failed}")
        print(f"  disk: {found['state_free_bytes'] / 2**30:.1f} GiB free")
    well = found["state"] == "ready" and found["ledger_takes_calls"]
    return 0 if well and found["accounts_available"] else 1
