"""``splice accounts``: how the upstream accounts are, and what an operator does about it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from proxy.cli.daemon import Daemon, DaemonError, segment
from proxy.cli.output import complain, print_json, print_table, shown, span
from proxy.config import ConfigError

_TEST_PATIENCE = 120.0
"""Seconds: a test may wait for a connection and then for an answer."""
_HEAD = ("ACCOUNT", "PROVIDER", "STATE", "CAUSE", "BACK IN", "IN FLIGHT", "LEFT", "BENCHED MODELS")
_NAMED = 3
"""Benched models that a line names."""

_MEANS = {
    "disabled": "an operator disabled it, and `splice accounts enable` undoes that",
    "spent": "what may be spent there in this period is spent",
    "full": "as many calls run there as its concurrency allows",
    "limited": "its own rpm or tpm is used up for the moment",
}
"""What a state that no trouble explains means."""


def run(args: argparse.Namespace) -> int:
    try:
        daemon = Daemon(args)
        match args.action:
            case None | "list":
                return _list(daemon, args)
            case "why":
                return _why(daemon, args)
            case "test":
                return _test(daemon, args)
            case action:
                return _change(daemon, args, action)
    except (ConfigError, DaemonError) as error:
        complain(str(error))
        return 1


def _list(daemon: Daemon, args: argparse.Namespace) -> int:
    listed = daemon.get("accounts")
    if args.json:
        print_json(listed)
    else:
        now = datetime.now(UTC)
        print_table([_row(account, now) for account in listed["data"]], head=_HEAD)
    return 0


def _row(account: dict[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        account["name"],
        account["provider"],
        account["state"],
        account["cause"] or "-",
        _away(account["until"], now) if account["until"] else "-",
        str(account["in_flight"]),
        _left(account),
        _models(account) or "-",
    )


def _left(account: dict[str, Any]) -> str:
    """What our own limits leave, and what the provider says that it does."""
    limits, told = account["limits"], account["provider_says_left"]
    parts = []
    for what in ("requests", "tokens"):
        ours, theirs = limits[f"{what}_left"], told[what]
        parts += [f"{ours} {what}"] if ours is not None else []
        parts += [f"{theirs} {what} (provider)"] if theirs is not None else []
    return ", ".join(parts) or "-"


def _models(account: dict[str, Any]) -> str:
    names = [why["model"] for why in account["why"] if why["model"] is not None]
    names += [empty["model"] for empty in account["empty"] if empty["model"] not in names]
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _why(daemon: Daemon, args: argparse.Namespace) -> int:
    account = daemon.get(f"accounts/{segment(args.name)}")
    if args.json:
        print_json(account)
    else:
        for line in told(account, datetime.now(UTC)):
            print(shown(line))
    return 0


def told(account: dict[str, Any], now: datetime) -> list[str]:
    """The lines that say why an account is as it is."""
    cause = f" ({account['cause']})" if account["cause"] else ""
    back = f", back in {_away(account['until'], now)}" if account["until"] else ""
    name = f"{account['name']} ({account['provider']})"
    lines = [f"{name}: {account['state']}{cause}{back}, {account['in_flight']} in flight"]
    if account["state"] in _MEANS:
        lines.append(f"  {_MEANS[account['state']]}")
    for why in account["why"]:
        what = f"model {why['model']}" if why["model"] is not None else "the account"
        lines.append(
            f"  {what}: {why['state']} ({why['cause']}), since {why['since']}, until {why['until']} "
            f"({_away(why['until'], now)}), found failing {_times(why['failures'])}"
        )
        lines += [f"    {line}" for line in _evidence(why["evidence"])]
    lines += [
        f"  model {empty['model']}: the provider said that nothing is left until {empty['until']} "
        f"({_away(empty['until'], now)})"
        for empty in account["empty"]
    ]
    left = _left(account)
    if left != "-":
        lines.append(f"  left: {left}")
    if len(lines) == 1:
        lines.append("  nothing is known to be wrong with it")
    return lines


def _evidence(evidence: dict[str, Any]) -> list[str]:
    status = f", status {evidence['status']}" if evidence["status"] is not None else ""
    lines = [f"evidence: {evidence['kind']}{status}"]
    if evidence["header"]:
        hint = evidence["hint_s"]
        made = f"{hint:g} s, before the cap" if hint is not None else "makes no sense"
        lines.append(f"it said when: {evidence['header']} ({made})")
    if evidence["said"]:
        lines.append(f"in words: {evidence['said']}")
    return lines


def _test(daemon: Daemon, args: argparse.Namespace) -> int:
    query = "?clear=true" if args.clear else ""
    found = daemon.post(f"accounts/{segment(args.name)}/test{query}", _TEST_PATIENCE)
    if args.json:
        print_json(found)
    else:
        for line in tested(found):
            print(shown(line))
    return 0 if found["ok"] else 1


def tested(found: dict[str, Any]) -> list[str]:
    """The lines that say what came of a test."""
    status = f"status {found['status']}" if found["status"] is not None else "no answer"
    cleared = ", cleared" if found["cleared"] else ""
    outcome = "ok" if found["ok"] else f"failed, {found['error']['kind']}"
    where = f"{status} from {found['url']} after {found['seconds']:.3f} s"
    lines = [f"{found['account']}: {outcome}{cleared} ({where})"]
    if not found["ok"]:
        lines.append(f"  in words: {found['error']['said']}")
    return lines


def _change(daemon: Daemon, args: argparse.Namespace, action: str) -> int:
    account = daemon.post(f"accounts/{segment(args.name)}/{action}")
    if args.json:
        print_json(account)
        return 0
    note = " until it is enabled or the daemon restarts" if action == "disable" else ""
    print(f"{account['name']}: {account['state']}{note}, {account['in_flight']} in flight")
    return 0


def _away(moment: str, now: datetime) -> str:
    """How far off a moment is: ``4m12s``; ``0s`` once it is past."""
    return span(max((datetime.fromisoformat(moment) - now).total_seconds(), 0.0))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
