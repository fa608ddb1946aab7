"""``splice check``: whether the configuration is valid, and what it amounts to."""

from __future__ import annotations

import argparse
import os

from proxy.cli.output import complain, print_json
from proxy.config import Config, ConfigError, find, load


def run(args: argparse.Namespace) -> int:
    try:
        path = find(args.config, os.environ)
        config = load(path, os.environ)
    except ConfigError as error:
        if args.json:
            print_json({"ok": False, "faults": error.faults})
        else:
            complain(str(error))
        return 1
    summary = _summary(config)
    if args.json:
        print_json({"ok": True, "path": str(path), **summary, "warnings": config.warnings})
        return 0
    for warning in config.warnings:
        complain(f"warning: {warning}")
    print(f"{path}: ok")
    for name, listed in summary.items():
        print(f"  {name}: {', '.join(listed) or 'none'}")
    return 0


def _summary(config: Config) -> dict[str, list[str]]:
    return {
        "listen": [str(address) for address in config.server.listen],
        "admin": [str(address) for address in config.admin.listen],
        "accounts": [f"{account.name} ({account.provider})" for account in config.accounts],
        "models": [model.name for model in config.models],
        "keys": [key.name for key in config.keys],
    }
