"""``splice demo``: the gateway with a provider of its own."""

from __future__ import annotations

import argparse

from proxy import app


def run(args: argparse.Namespace) -> int:
    return app.demo(args.port)
