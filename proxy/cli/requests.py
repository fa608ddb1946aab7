"""``splice requests``: what runs, and how to end it."""

from __future__ import annotations

import argparse
from typing import Any

from proxy.cli.daemon import Daemon, DaemonError, segment
from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError

_HEAD = ("REQUEST", "AGE", "KEY", "MODEL", "ASKED", "PHASE", "TRIES", "TOKENS", "CLIENT'S ID")
_USAGE = 2


def run(args: argparse.Namespace) -> int:
    if args.action is None and not args.in_flight:
        complain("found nothing to do, expected --in-flight or cancel ID")
        return _USAGE
    try:
        daemon = Daemon(args)
        return _list(daemon, args) if args.action is None else _cancel(daemon, args)
    except (ConfigError, DaemonError) as error:
        complain(str(error))
        return 1


def _list(daemon: Daemon, args: argparse.Namespace) -> int:
    listed = daemon.get("requests?in_flight=true")
    if args.json:
        print_json(listed)
    else:
        print_table([_row(one) for one in listed["data"]], head=_HEAD)
        if listed["has_more"]:
            complain(f"warning: these are the {len(listed['data'])} oldest; more run")
    return 0


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    asked = f"{one['account']}: {one['upstream_model']}" if one["account"] else "-"
    return (
        one["request_id"],
        f"{one['age_s']:.1f}s",
        one["key"] or "-",
        one["model"] or "-",
        asked,
        one["phase"],
        str(one["attempts"]),
        str(one["output_tokens"]),
        one["client_request_id"] or "-",
    )


def _cancel(daemon: Daemon, args: argparse.Namespace) -> int:
    found = daemon.post(f"requests/{segment(args.id)}/cancel")
    if args.json:
        print_json(found)
    else:
        print(f"cancelled {found['request_id']}")
    return 0
