"""``splice doctor``: what may keep a gateway from working, with the daemon up or down; exit 1 if something does."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

import uvloop

from proxy.cli import findings, machine, reach
from proxy.cli.daemon import Daemon, DaemonError
from proxy.cli.findings import Finding, Level
from proxy.cli.output import print_json, shown, span
from proxy.config import Config, ConfigError, find, load, state_directory


def run(args: argparse.Namespace) -> int:
    found = list(_look(args))
    failed = any(one.level is Level.FAIL for one in found)
    if args.json:
        checks = [
            {"check": one.what, "level": one.level, "found": one.found, "todo": one.todo or None}
            for one in found
        ]
        print_json({"ok": not failed, "checks": checks})
        return int(failed)
    for one in found:
        todo = f"; {one.todo}" if one.todo else ""
        print(shown(f"{one.level:4}  {one.what}: {one.found}{todo}"))
    return int(failed)


def _look(args: argparse.Namespace) -> Iterator[Finding]:
    yield from machine.installation()
    try:
        path = find(args.config, os.environ)
        state = state_directory(path, os.environ)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding("configuration", Level.FAIL, fault)
        return
    daemon = _daemon(args)
    yield daemon
    config: Config | None = None
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        # A daemon that runs has read it, and may have had an environment and credentials that this shell does not.
        level = Level.WARN if daemon.level is Level.OK else Level.FAIL
        for fault in error.faults:
            yield Finding("configuration", level, fault)
    yield findings.config_file(path.stat().st_mode, str(path))
    for warning in () if config is None else config.warnings:
        yield Finding("configuration", Level.WARN, warning)
    yield from machine.state(state)
    if config is None:
        yield Finding("providers", Level.WARN, "not looked at, for the configuration's sake")
        return
    reached = uvloop.run(reach.providers(config))
    yield from (one.finding for one in reached)
    yield findings.clock([one.offset for one in reached if one.offset is not None])


def _daemon(args: argparse.Namespace) -> Finding:
    try:
        found = Daemon(args).get("status")
    except DaemonError as error:
        return Finding("daemon", Level.WARN, str(error))
    return Finding("daemon", Level.OK, f"{found['state']}, up {span(found['uptime_s'])}")
