"""``splice serve``: the daemon."""

from __future__ import annotations

import argparse
import os

from proxy import app
from proxy.cli.output import complain
from proxy.config import ConfigError, find

EX_CONFIG = 78
"""sysexits.h: systemd is told not to restart on it, since trying again would not help."""


def run(args: argparse.Namespace) -> int:
    try:
        return app.serve(find(args.config, os.environ))
    except ConfigError as error:
        complain(str(error))
        return EX_CONFIG
