"""``splice check``: whether the configuration is valid, what it amounts to and, if asked, whether its accounts answer."""

from __future__ import annotations

import argparse
import importlib
import os
from typing import Any

from proxy.cli.accounts import tested
from proxy.cli.output import complain, print_json, shown
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
    asked = _asked(config) if args.online else []
    well = all(one["ok"] for one in asked)
    if args.json:
        answers = {"online": asked} if args.online else {}
        print_json(
            {"ok": well, "path": str(path), **summary, "warnings": config.warnings, **answers}
        )
        return 0 if well else 1
    for warning in config.warnings:
        complain(f"warning: {warning}")
    print(f"{path}: ok")
    for name, listed in summary.items():
        print(f"  {name}: {', '.join(listed) or 'none'}")
    for one in asked:
        for line in tested(one):
            print(shown(line))
    return 0 if well else 1


def _asked(config: Config) -> list[dict[str, Any]]:
    # Imported by name because it costs four times as much as the rest of this command.
    found: list[dict[str, Any]] = importlib.import_module("proxy.cli.online").ask_all(config)
    return found


def _summary(config: Config) -> dict[str, list[str]]:
    return {
        "listen": [str(address) for address in config.server.listen],
        "admin": [str(address) for address in config.admin.listen],
        "accounts": [f"{account.name} ({account.provider})" for account in config.accounts],
        "models": [model.name for model in config.models],
        "keys": [key.name for key in config.keys],
    }
