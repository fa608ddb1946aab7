"""``splice config``: every setting in effect and where it comes from."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

import orjson

from proxy.cli.output import complain, print_json, print_table
from proxy.config import ConfigError, find, load


def run(args: argparse.Namespace) -> int:
    try:
        settings = load(find(args.config, os.environ), os.environ).settings
    except ConfigError as error:
        complain(str(error))
        return 1
    if args.json:
        print_json([asdict(setting) for setting in settings])
    else:
        print_table([(s.key, _shown(s.value), s.origin) for s in settings])
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) and value else orjson.dumps(value).decode()
