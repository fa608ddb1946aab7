"""``splice serve``: the daemon."""

from __future__ import annotations

import argparse
import os

from proxy.app import daemon
from proxy.cli import EX_CONFIG, extensions
from proxy.cli.output import complain
from proxy.config import ConfigError, find


def run(args: argparse.Namespace) -> int:
    slow = extensions.missing()
    if slow:
        complain(f"found aiohttp's {' and '.join(slow)} in Python, expected C; {extensions.ADVICE}")
        return EX_CONFIG
    try:
        return daemon.serve(find(args.config, os.environ))
    except ConfigError as error:
        complain(str(error))
        return EX_CONFIG
