"""``splice demo``: the gateway with a provider of its own."""

from __future__ import annotations

import argparse

from proxy.app import demonstration


def run(args: argparse.Namespace) -> int:
    return demonstration.demo(args.port)
