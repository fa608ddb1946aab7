"""The ``splice`` command: what it can be asked for, and where each answer is."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from functools import partial

from proxy import __version__
from proxy.cli import ledger_arguments
from proxy.cli.output import complain

_DESCRIPTION = "An LLM gateway: one endpoint, four dialects, many upstream accounts."
_CONFIG_HELP = (
    "the configuration file; else $SPLICE_CONFIG, ./config.toml, "
    "$XDG_CONFIG_HOME/splice/config.toml, /etc/splice/config.toml"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, or 1 for a failure; bad usage exits with 2."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    # Imported by name because the daemon's imports cost more than most commands do.
    command = importlib.import_module(f"proxy.cli.{args.command}")
    try:
        code: int = command.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nor may the interpreter's last flush complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="splice", description=_DESCRIPTION)
    version = f"splice {__version__} (python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument("-c", "--config", metavar="FILE", help=_CONFIG_HELP)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    demo = _add(commands, "demo", "the gateway with a built-in provider: no keys, no cost")
    demo.add_argument("--port", type=_port, help="default: the next free one from 8080")
    _add(commands, "init", "write a config.toml from the provider keys in the environment")
    _add(commands, "serve", "run the gateway")
    check = _add(commands, "check", "validate the configuration")
    check.add_argument("--json", action="store_true", help="print JSON")
    config = _add(commands, "config", "print every setting in effect and where it comes from")
    config.add_argument("--json", action="store_true", help="print JSON")
    ledger_arguments.add(partial(_add, commands))
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, says: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=says, description=says.capitalize() + ".")
    # Suppressed when absent, so that it does not undo the one before the command.
    command.add_argument(
        "-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_HELP
    )
    return command


def _port(text: str) -> int:
    # The admin listener takes the port after it.
    if not text.isdecimal() or not 0 < int(text) < 65_535:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a port from 1 to 65534")
    return int(text)
